"""The alias `champion`: where it is after each kind of evaluation, and the recorded reason."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from dogbreed.core.errors import CorruptData, DataError, UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.tracking import promotion, runs
from dogbreed.tracking.promotion import REASON, EvalScore, champion, decide, promote
from dogbreed.workflows.evaluate import evaluate_again
from tests.support.registry import evaluate, register, tag, tiny

CHALLENGER = 2  # the version


@pytest.fixture(scope="module")
def template(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a champion with top-1 50 % on dataset A (40 to 60 %), and a challenger."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        assert champion("dogbreed") is None
        versions = register(dataset), register(dataset, tiny(1))
        promote(evaluate(versions[0], "A", hits=50), returns(0.5), force=False)
        assert (champion("dogbreed"), versions) == (1, (1, CHALLENGER))
    return path


@pytest.fixture(autouse=True)
def database(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has the database to itself."""
    shutil.copy(template, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def returns(score: float) -> Callable[[], float]:
    return lambda: score


def never() -> float:
    raise AssertionError("evaluated again although the alias does not move")


def test_the_first_model_becomes_champion() -> None:
    reason = "promoted: version 1 has top-1 50.00% (95 % CI 40.00% to 60.00%); there was no champion"
    assert tag(1, REASON) == reason


VERSUS = r"champion 1 50.00% \(95 % CI 40.00% to 60.00%\)"
ELSEWHERE = (
    "not promoted: champion 1 has not been evaluated with the same options on dataset B; run jobs.evaluate --model"
)
NO_DIFFERENCE = "no significant difference"
TABLE = {
    "better": ("A", 61, False, True, f"promoted: version 2 has top-1 61.00%, {VERSUS}$"),
    "in the interval": ("A", 60, False, False, f"not promoted: version 2 has top-1 60.00%, {VERSUS}: {NO_DIFFERENCE}"),
    "equal": ("A", 50, False, False, f"not promoted: version 2 has top-1 50.00%, {VERSUS}: {NO_DIFFERENCE}"),
    "worse": ("A", 39, False, False, f"not promoted: version 2 has top-1 39.00%, {VERSUS}: worse"),
    "worse, by force": ("A", 39, True, True, f"promoted by force, otherwise not promoted: version 2 .*{VERSUS}: worse"),
    "other data": ("B", 99, False, False, ELSEWHERE),
    "other data, by force": ("B", 99, True, True, f"promoted by force, otherwise {ELSEWHERE}"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_the_alias_moves_to_a_better_model_on_the_same_images_and_the_reason_is_recorded(
    case: str,
) -> None:
    digest, hits, force, moves, reason = TABLE[case]
    run_id = evaluate(CHALLENGER, digest, hits)
    summary = promote(run_id, returns(hits / 100) if moves else never, force)
    assert champion("dogbreed") == summary["champion"] == (CHALLENGER if moves else 1)
    assert summary["promoted"] is moves
    recorded = tag(CHALLENGER, REASON)
    assert recorded == summary["reason"] == runs.get_run(run_id).data.tags[REASON]
    assert re.match(reason, str(recorded)), recorded
    again = promote(run_id, never, force)
    assert again == summary
    assert champion("dogbreed") == summary["champion"]


def test_mirror_images_are_compared_with_mirror_images() -> None:
    summary = promote(evaluate(CHALLENGER, "A", hits=99, tta="flip"), never, force=False)
    assert "has not been evaluated with the same options" in str(summary["reason"])
    evaluate(1, "A", hits=60, tta="flip")
    assert promote(evaluate(CHALLENGER, "A", hits=99, tta="flip"), returns(0.99), force=False)["champion"] == CHALLENGER


def test_a_test_split_of_one_image_is_no_reason_to_promote() -> None:
    params = {"model": f"models:/dogbreed/{CHALLENGER}", "tta": "none", "split": "test"}
    with runs.start_run(
        "dogbreed", "evaluate", "tiny-test", params, {runs.DIGEST: "A", "dogbreed.split": "test"}
    ) as run:
        run.log_metrics(0, {"test_top1": 1.0})  # without an interval
    with pytest.raises(DataError, match="interval"):
        promote(run.id, never, force=False)
    assert champion("dogbreed") == 1


@pytest.mark.parametrize("force", [False, True])
def test_a_model_with_another_score_when_it_is_loaded_again_never_becomes_champion(force: bool) -> None:
    with pytest.raises(CorruptData, match=r"had top-1 90.00% and has 25.00% when it is loaded again"):
        promote(evaluate(CHALLENGER, "A", hits=90), returns(0.25), force)
    assert champion("dogbreed") == 1
    assert str(tag(CHALLENGER, REASON)).startswith("not promoted: the model of run ")


@pytest.fixture
def file_of_challenger() -> Iterator[Path]:
    """The challenger's Keras file in the artifact store, restored after the test."""
    client = mlflow.MlflowClient()
    model = client.get_model_version("dogbreed", str(CHALLENGER)).source.removeprefix("models:/")
    file = Path(client.get_logged_model(model).artifact_location.removeprefix("file://"), "artifacts", "model.keras")
    whole = file.read_bytes()
    yield file
    file.write_bytes(whole)


@pytest.mark.parametrize("force", [False, True])
def test_a_model_whose_file_is_damaged_never_becomes_champion(
    force: bool, dataset: Path, file_of_challenger: Path
) -> None:
    store, uri = LocalStore(dataset), f"models:/dogbreed/{CHALLENGER}"
    digest = load_manifest(store).digest
    assert evaluate_again(uri, store, 64, tta="none") == 0.25  # one breed of four
    evaluate(1, digest, hits=10)
    run_id = evaluate(CHALLENGER, digest, hits=25)
    file_of_challenger.write_bytes(file_of_challenger.read_bytes()[:1000])
    with pytest.raises(CorruptData, match="cannot be loaded"):
        promote(run_id, lambda: evaluate_again(uri, store, 64, tta="none"), force)
    assert champion("dogbreed") == 1
    assert str(tag(CHALLENGER, REASON)).startswith("not promoted: the model at ")
    assert runs.get_run(run_id).data.tags[REASON] == tag(CHALLENGER, REASON)


def test_a_model_that_cannot_even_be_evaluated_has_the_reason_recorded(file_of_challenger: Path, dataset: Path) -> None:
    uri = f"models:/dogbreed/{CHALLENGER}"
    file_of_challenger.write_bytes(b"")
    with pytest.raises(CorruptData), promotion.record_failure(uri):
        evaluate_again(uri, LocalStore(dataset), 64, tta="none")
    assert champion("dogbreed") == 1
    assert str(tag(CHALLENGER, REASON)).startswith("not promoted: the model at ")


def test_the_interval_decides() -> None:
    present = EvalScore(1, 0.5, 0.45, 0.55)
    assert [decide(EvalScore(2, top1, 0, 1), present)[0] for top1 in (0.4, 0.5, 0.55, 0.5501)] == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("model", "split", "message"),
    [
        ("runs:/1/model", "test", "needs one of its versions"),
        ("folder", "test", "needs one of its versions"),
        ("models:/other/1", "test", "moves the champion of dogbreed"),
        ("models:/dogbreed-2/1", "test", "moves the champion of dogbreed"),
        ("models:/dogbreed@candidate", "validation", "compares on the test split"),
    ],
)
def test_only_registered_versions_on_test_can_be_promoted(model: str, split: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        promotion.check_promotable(model, "dogbreed", split)
