"""The model card: its content follows from the runs in MLflow."""

import re
from pathlib import Path

import mlflow
import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.tracking import model_card
from tests.support.registry import evaluate, register


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def card(version: int) -> str:
    """Describe a version and return the card that its page and its run then have."""
    model_card.describe(f"models:/dogbreed/{version}", "dogbreed", "dogbreed")
    client = mlflow.MlflowClient()
    found = client.get_model_version("dogbreed", str(version))
    run = client.get_run(str(found.run_id))
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/model_card.md") == found.description
    assert len(str(found.description)) < 5000  # what MLflow's database keeps
    return str(found.description)


def test_a_card_has_data_scores_with_intervals_limitations_and_licence(dataset: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    version = register(dataset)
    before = card(version)
    assert "# dogbreed, version 1" in before
    assert f"`{manifest.digest}`: name dogbreed, crop box, duplicates separate, margin 0.1" in before
    assert "split official" in before
    assert f"| validation | `{manifest.digest[:12]}` | 50.0% | 25.0% to 75.0% | 100.0% | 0.400 |" in before
    assert "| test |" not in before
    for words in (
        "## Limitations",
        "no images but those",
        "another breed, a cat.",
        "## Licence",
        "The images of Stanford Dogs",
        "research and education only",
        "margin of 0.1",
    ):
        assert words in before


def test_the_card_of_other_images_mentions_neither_dogs_nor_boxes(dataset: Path) -> None:
    text = card(register(dataset, kind="own"))
    assert not re.search(r"Stanford|ImageNet|WordNet|breed|\bcat\b|box|crop|margin", text.replace("dogbreed", ""))
    assert "It was trained on whole images." in text
    assert "something else.\n" in text
    assert "The images of dogbreed keep their licence. The code is under" in text


def test_each_evaluation_adds_its_row_and_a_newer_one_replaces_it(dataset: Path) -> None:
    version = register(dataset)
    evaluate(version, "a" * 64, hits=20)
    evaluate(version, "a" * 64, hits=40)
    evaluate(version, "a" * 64, hits=60, tta="flip")
    evaluate(version, "b" * 64, hits=80)
    rows = [line.split(" | ")[:4] for line in card(version).splitlines() if line.startswith("| test")]
    assert sorted(rows) == [
        ["| test", "`aaaaaaaaaaaa`", "40.0%", "31.0% to 49.0%"],
        ["| test", "`bbbbbbbbbbbb`", "80.0%", "72.0% to 88.0%"],
        ["| test, TTA flip", "`aaaaaaaaaaaa`", "60.0%", "51.0% to 69.0%"],
    ]
    assert card(version) == card(version)


def test_classes_without_images_stand_beside_the_macro_f1(dataset: Path) -> None:
    version = register(dataset)
    evaluate(version, "a" * 64, hits=20, classes_without_images=1)
    assert "| 90.0% | 0.400 (1 class without images left out) |" in card(version)


def test_a_zoom_is_named_beside_the_validation_top1_that_it_gives(dataset: Path) -> None:
    version = register(dataset)
    before = card(version)
    assert "zoom" not in before
    run = str(mlflow.MlflowClient().get_model_version("dogbreed", str(version)).run_id)
    for name, value in {"test_zoom": 1.125, "best_val_top1_zoomed": 0.625}.items():
        mlflow.MlflowClient().log_metric(run, name, value)
    after = card(version)
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    assert "with a zoom of 1.125: with it top-1 on validation is 62.5%" in added[0]
    assert len(added) == 2


def test_pretrained_weights_are_named(dataset: Path) -> None:
    text = card(register(dataset, weights="imagenet"))
    assert "initialized with `imagenet`" in text
    assert "may be optimistic" in text


@pytest.mark.parametrize("seen", ["nothing", "weights", "unknown", "data"])
def test_a_teacher_is_named_with_what_it_had_seen(dataset: Path, seen: str) -> None:
    version, client = register(dataset), mlflow.MlflowClient()
    run = str(client.get_model_version("dogbreed", str(version)).run_id)
    digest = "b" * 64 if seen == "data" else load_manifest(LocalStore(dataset)).digest
    tags = {"teacher": "models:/dogbreed/9", "teacher_sha256": "a" * 64, "teacher_dataset": digest}
    if seen != "unknown":
        tags["teacher_weights"] = "imagenet" if seen == "weights" else "none"
    for name, value in tags.items():
        client.set_tag(run, f"dogbreed.{name}", value)
    text = card(version)
    assert f"teacher `models:/dogbreed/9` (SHA-256 `{'a' * 64}`), which was trained\non dataset `{digest}`" in text
    initial = {"weights": "`imagenet`", "unknown": "weights that are not known here"}.get(seen, "random weights")
    assert f"initialized with {initial}.\n" in text
    assert ("and so was its teacher." in text) == (seen == "nothing")
    assert ("Its teacher, or what" in text) == (seen != "nothing")


def test_other_models_than_registered_versions_have_no_card(caplog: pytest.LogCaptureFixture) -> None:
    for model in ("runs:/1/model", "folder"):
        model_card.describe(model, "dogbreed", "dogbreed")
    assert caplog.text == ""


def test_the_card_of_another_registered_model_stays_as_it_is(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    version, client = register(dataset), mlflow.MlflowClient()
    with caplog.at_level("INFO"):
        model_card.describe(f"models:/dogbreed/{version}", "cats", "cats")
    assert f"models:/dogbreed/{version} is no version of cats" in caplog.text
    assert not client.get_model_version("dogbreed", str(version)).description


def test_a_card_that_mlflow_refuses_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model_card.describe("models:/dogbreed/7", "dogbreed", "dogbreed")
    assert "MLflow did not accept the model card" in caplog.text
