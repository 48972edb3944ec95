"""A registered model that was deleted and made again has the name of the former one, but none of its scores."""

import logging
from pathlib import Path

import mlflow
import pytest

from dogbreed.core.errors import UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.tracking import leaderboard, model_card, promotion
from tests.support.registry import evaluate, register


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def replaced(dataset: Path) -> tuple[str, str]:
    """Evaluate version 1, delete the registered model and train a new version 1; return the run and the digest."""
    digest = load_manifest(LocalStore(dataset)).digest
    former = evaluate(register(dataset, seed=1), digest, hits=90)
    mlflow.MlflowClient().delete_registered_model("dogbreed")
    assert register(dataset, seed=2) == 1
    return former, digest


def test_its_model_card_has_no_row_of_the_former_model(replaced: tuple[str, str]) -> None:
    _, digest = replaced
    model_card.describe("models:/dogbreed/1", "dogbreed", "dogbreed")
    assert "| test |" not in str(mlflow.MlflowClient().get_model_version("dogbreed", "1").description)
    evaluate(1, digest, hits=20)
    model_card.describe("models:/dogbreed/1", "dogbreed", "dogbreed")
    assert "| test | " in str(mlflow.MlflowClient().get_model_version("dogbreed", "1").description)


def test_no_challenger_is_compared_with_the_score_of_the_former_model(replaced: tuple[str, str], dataset: Path) -> None:
    _, digest = replaced
    mlflow.MlflowClient().set_registered_model_alias("dogbreed", "champion", "1")
    challenger = evaluate(register(dataset, seed=3), digest, hits=50)
    outcome = promotion.promote(challenger, lambda: 0.5, force=False)
    assert "champion 1 has not been evaluated" in outcome["reason"]
    evaluate(1, digest, hits=20)
    assert promotion.promote(challenger, lambda: 0.5, force=False)["promoted"]


def test_the_leaderboard_names_the_former_evaluation_and_leaves_it_out(
    replaced: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    former, digest = replaced
    with caplog.at_level(logging.WARNING), pytest.raises(UsageError, match="no finished evaluation"):
        leaderboard.evaluations("dogbreed", "test", digest, ())
    assert f"ignored run {former}: models:/dogbreed/1 is another model now" in caplog.text
    named = leaderboard.table(leaderboard.evaluations("dogbreed", "test", digest, [former]))
    assert named["seed"].tolist() == ["1"], "a run that is named is shown with its own training"
    evaluate(1, digest, hits=20)
    board = leaderboard.table(leaderboard.evaluations("dogbreed", "test", digest, ()))
    assert (board["seed"].tolist(), board["top1"].tolist()) == (["2"], [0.2])
