"""An evaluation on drawn dogs with a real tracking store: what its run and its report hold."""

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pytest
from PIL import Image

from dogbreed.core.errors import DataError
from dogbreed.core.storage import LocalStore
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import DuplicatePair, Manifest, load_manifest
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.resize import ResizeSpec
from dogbreed.evaluation import report, result
from dogbreed.evaluation.result import EvalResult, EvalTarget
from dogbreed.models import registry
from dogbreed.tracking import runs
from dogbreed.tracking.lineage import TrainingLineage
from dogbreed.workflows import evaluate

pytestmark = pytest.mark.timeout(900)  # a tracking store is made and eight pictures are drawn, beside other tests

Preprocess = Callable[..., Manifest | None]
VIEW = ResizeSpec(32)
PARAMS = {"name": "<b>own</b>", "weights": "imagenet", "seed": "0"}
ORIGIN = TrainingLineage("0" * 32, PARAMS, {"train_seconds": 270.0}, {}, None)
TABLES = ("per_breed", "predictions", "confusable_pairs", "by_box", "reliability")
PICTURES = (*TABLES[2:], "confusion_matrix", "recall_by_breed", "hardest_photos", "sample_predictions", "grad_cam")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return registry.build("cifar-resnet", 32, 4, 0.0)


def subject(model: keras.Model, folder: Path, split: str = "test") -> EvalTarget:
    store = LocalStore(folder)
    manifest = load_manifest(store)
    return EvalTarget(model, manifest, InputPipeline(manifest, store, VIEW, 8, folder / "unused"), split, False)


@pytest.fixture(scope="module")
def found(model: keras.Model, dataset: Path) -> EvalResult:
    return evaluate.evaluate(subject(model, dataset), frozenset({"n90000001"}), baseline=model)


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_run_holds_scores_with_intervals_floors_and_parts_tables_pictures_and_a_report(
    model: keras.Model, dataset: Path, found: EvalResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with runs.start_run("evaluate", "test", {}, {}) as run:
        evaluate.log_evaluation(run, subject(model, dataset), found, ORIGIN)
    logged = runs.get_run(run.id).data.metrics
    assert logged["test_top1_ci95_low"] <= logged["test_top1"] <= logged["test_top1_ci95_high"]
    assert (logged["test_majority_baseline_top1"], logged["test_majority_baseline_top5"]) == (0.25, 1.0)
    assert logged["test_imagenet_zero_shot_loss"] == logged["test_loss"]  # the floor is the model itself here
    assert (logged["test_seen_images"], logged["test_unseen_photos"]) == (4, 12)
    assert 0 < logged["test_ece"] < 1
    assert runs.get_run(run.id).data.tags["mlflow.note.content"].startswith("**Top-1 25.0 %** (6.2 % to ")
    client = mlflow.MlflowClient()
    names = {entry.path for folder in ("", "pictures", "tables") for entry in client.list_artifacts(run.id, folder)}
    assert names == {
        "pictures",
        "tables",
        "report.html",
        *(f"pictures/{name}_test.png" for name in PICTURES),
        *(f"tables/{name}_test.csv" for name in TABLES),
    }
    page = Page(mlflow.artifacts.load_text(f"runs:/{run.id}/report.html"))
    assert len(page.all("img")) == 8


def rendered(model: keras.Model, dataset: Path, found: EvalResult, origin: TrainingLineage | None = ORIGIN) -> str:
    pictures = dict.fromkeys(PICTURES, report.to_data_uri(Image.new("RGB", (30, 30), "red")))
    return report.render("1" * 32, subject(model, dataset), found, origin, pictures)


def test_the_report_needs_nothing_from_anywhere(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    text = rendered(model, dataset, found)
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"https?://|url\(|@import", text)
    images = page.all("img")
    assert len(images) == 8
    for image in images:
        assert image["alt"]
        kind, data = image["src"].split(";base64,")
        assert kind == "data:image/webp"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (20, 20)
    titles = [title["id"] for title in page.all("h2")]
    assert titles
    assert [link["href"][1:] for link in page.all("a")] == titles


def test_the_report_answers_the_questions_of_a_reviewer(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    text = " ".join(Page(rendered(model, dataset, found)).text.split())
    assert f"{100 * found.scores['top1']:.1f} %" in text
    low, high = found.intervals["top1"]
    assert f"{100 * low:.1f} % to {100 * high:.1f} %" in text
    assert "answering the most frequent breed every time 25.0 % 100.0 % 16" in text
    assert "photos that the pretraining has seen" in text
    assert (
        "These figures may be too good. The training began with weights that had learned elsewhere (imagenet)" in text
    )
    assert load_manifest(LocalStore(dataset)).digest in text
    assert "recipe <b>own</b>" in text  # as text: a name is no markup
    assert "the dog's box with 10% around it, shorter side 32 px" in text
    assert "training 4.5 min" in text


def test_a_training_from_scratch_needs_no_caveat(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    scratch = dataclasses.replace(ORIGIN, params={"weights": "none"})
    assert "too good" not in rendered(model, dataset, found, scratch)


def test_a_model_of_unknown_origin_is_said_to_be_one(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    text = Page(rendered(model, dataset, found, None)).text
    assert "The training behind this model is not in this MLflow" in text


def test_whole_photos_stand_beside_the_crops_of_a_deferred_dataset(
    model: keras.Model, source: StanfordDogs, preprocess: Preprocess, tmp_path: Path
) -> None:
    assert preprocess(source, LocalStore(tmp_path / "late"), crop="defer") is not None
    assert preprocess(source, LocalStore(tmp_path / "none"), crop="none") is not None
    late, store = subject(model, tmp_path / "late"), LocalStore(tmp_path / "late")
    whole, other = (
        evaluate.evaluate(late, other=evaluate.open_comparison(name, late.manifest, store, VIEW, 8, tmp_path / "cache"))
        for name in ("whole", str(tmp_path / "none"))
    )
    assert whole.comparison is not None
    assert other.comparison is not None
    assert (whole.comparison.name, whole.comparison.photos, other.comparison.photos) == ("whole photos", 16, 16)
    assert whole.comparison.gain == pytest.approx(whole.scores["top1"] - whole.comparison.scores["top1"])
    # the same whole photos, kept at another size and resized twice
    assert whole.comparison.scores["loss"] == pytest.approx(other.comparison.scores["loss"], abs=0.1)
    assert dict(whole.to_metrics())["delta_top1"] == whole.comparison.gain


def test_crops_have_no_whole_photos_and_other_breeds_are_no_comparison(
    dataset: Path, source: StanfordDogs, preprocess: Preprocess, tmp_path: Path
) -> None:
    store = LocalStore(dataset)
    manifest = load_manifest(store)
    with pytest.raises(DataError, match="holds crops, not whole photos"):
        evaluate.open_comparison("whole", manifest, store, VIEW, 8, tmp_path)
    assert preprocess(source, LocalStore(tmp_path / "two"), classes=manifest.classes[:2]) is not None
    with pytest.raises(DataError, match="--data"):
        evaluate.open_comparison(str(tmp_path / "two"), manifest, store, VIEW, 8, tmp_path)
    assert evaluate.open_comparison(None, manifest, store, VIEW, 8, tmp_path) is None


def test_photos_with_a_copy_in_training_are_scored_apart_where_copies_were_kept(
    found: EvalResult, dataset: Path
) -> None:
    manifest, keys = load_manifest(LocalStore(dataset)), found.predictions.keys
    copies = (
        DuplicatePair(keys[0], "n/train_1", "near"),
        DuplicatePair("n/train_2", keys[1], "file"),
        DuplicatePair(keys[2], keys[3], "near"),
    )
    kept = dataclasses.replace(manifest, duplicates=copies, config={**manifest.config, "keep_duplicates": True})
    parts = result.score_subsets(found.predictions, kept, frozenset())
    assert {name: part["images"] for name, part in parts.items()} == {"with_duplicate": 2, "without_duplicate": 14}
    assert parts["with_duplicate"]["top1"] == np.mean(found.predictions.hits[:2])
    assert result.score_subsets(found.predictions, manifest, frozenset()) == {}


def test_a_part_without_photos_has_no_scores(found: EvalResult, dataset: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    parts = result.score_subsets(found.predictions, manifest, frozenset({"n99999999"}))
    assert parts["seen"] == {"images": 0}
    assert parts["unseen"]["top1"] == found.scores["top1"]


def test_datasets_without_a_common_photo_cannot_be_compared(found: EvalResult) -> None:
    strange = dataclasses.replace(found.predictions, keys=tuple(f"other/{n}" for n in range(16)))
    with pytest.raises(DataError, match="none of these"):
        result.compare(found.predictions, strange, "elsewhere")
