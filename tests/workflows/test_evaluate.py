"""An evaluation on synthetic dogs with a real tracking store: the content of its run and its report."""

import base64
import dataclasses
import io
import math
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
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.raw.image_folder import ImageFolder
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.resize import ResizeSpec
from dogbreed.evaluation import report
from dogbreed.evaluation.figures.evaluation import draw_figures
from dogbreed.evaluation.predictions import Predictions
from dogbreed.evaluation.result import EvalResult, EvalTarget, TrainingLineage, compare_crops
from dogbreed.evaluation.result import evaluate as evaluate_target
from dogbreed.evaluation.subsets import score_subsets
from dogbreed.models import registry
from dogbreed.serving import model_files
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.tracking import evaluation_outputs, runs
from dogbreed.workflows import evaluate
from dogbreed.workflows.dataset_checks import check_classes_match, open_comparison
from tests.support.duplicates import group, near
from tests.support.other_data import write_tree
from tests.support.registry import register, tiny

pytestmark = pytest.mark.timeout(900)  # creates a tracking store and draws eight figures, beside other tests

Preprocess = Callable[..., Manifest | None]
VIEW = ResizeSpec(32)
PARAMS = {"name": "<b>own</b>", "weights": "imagenet", "seed": "0"}
LINEAGE = TrainingLineage("0" * 32, PARAMS, {"train_seconds": 270.0}, {}, None)
TABLES = ("per_class", "predictions", "confusable_pairs", "by_box", "reliability")
FIGURES = ("confusion_matrix", "recall_by_class", "reliability", "by_box", "hardest_images", "sample_predictions",
         "confusable_pairs", "grad_cam")  # fmt: skip


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return registry.build("cifar-resnet", 32, 4, 0.0)


def open_target(model: keras.Model, folder: Path, split: str = "test") -> EvalTarget:
    store = LocalStore(folder)
    manifest = load_manifest(store)
    return EvalTarget(model, manifest, InputPipeline(manifest, store, VIEW, 8, folder / "unused"), split, "none")


@pytest.fixture(scope="module")
def found(model: keras.Model, dataset: Path) -> EvalResult:
    return evaluate_target(open_target(model, dataset), frozenset({"n90000001"}), baseline=model)


class Page(HTMLParser):
    """Tags and text of a page."""

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


def test_the_run_has_scores_with_intervals_baselines_and_subsets_tables_figures_and_a_report(
    model: keras.Model, dataset: Path, found: EvalResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with runs.start_run("dogbreed", "evaluate", "test", {}, {}) as run:
        evaluation_outputs.log_evaluation(run, open_target(model, dataset), found, LINEAGE)
    logged = runs.get_run(run.id).data.metrics
    assert logged["test_top1_ci95_low"] <= logged["test_top1"] <= logged["test_top1_ci95_high"]
    assert (logged["test_majority_baseline_top1"], logged["test_majority_baseline_top5"]) == (0.25, 1.0)
    assert logged["test_imagenet_zero_shot_loss"] == logged["test_loss"]  # the baseline is the model itself here
    assert (logged["test_seen_images"], logged["test_unseen_images"]) == (4, 12)
    assert 0 < logged["test_ece"] < 1
    assert runs.get_run(run.id).data.tags["mlflow.note.content"].startswith("**Top-1 25.0 %** (6.2 % to ")
    client = mlflow.MlflowClient()
    names = {entry.path for folder in ("", "figures", "tables") for entry in client.list_artifacts(run.id, folder)}
    assert names == {
        "figures",
        "tables",
        "report.html",
        *(f"figures/{name}_test.png" for name in FIGURES),
        *(f"tables/{name}_test.csv" for name in TABLES),
    }
    page = Page(mlflow.artifacts.load_text(f"runs:/{run.id}/report.html"))
    assert len(page.all("img")) == 8


def options(dataset: Path, model: str) -> evaluate.EvalOptions:
    return evaluate.EvalOptions(
        model=model,
        registered_model=None,
        experiment_prefix="dogbreed",
        data=str(dataset),
        split="test",
        tta="none",
        compare_with=None,
        imagenet_baseline=None,
        pretraining_list=None,
        batch_size=8,
        gpus=0,
        restart=False,
    )


def scores_only(run: runs.Run, target: EvalTarget, found: EvalResult, lineage: TrainingLineage | None) -> None:
    """Replace `log_evaluation`: figures take seconds."""
    run.log_metrics(0, {f"test_{name}": value for name, value in found.to_metrics()})


def test_a_registered_model_that_was_deleted_and_made_again_is_evaluated_anew(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(evaluation_outputs, "log_evaluation", scores_only)
    asked = options(dataset, f"models:/dogbreed/{register(dataset, tiny(0.0))}")
    former = evaluate.evaluate(asked)
    assert evaluate.evaluate(asked) == former, "done already"
    mlflow.MlflowClient().delete_registered_model("dogbreed")
    assert asked.model == f"models:/dogbreed/{register(dataset, tiny(5.0))}"
    found = evaluate.evaluate(asked)
    assert found["run_id"] != former["run_id"]
    assert found["loss"] > former["loss"] + 1
    hashes = [runs.get_run(run["run_id"]).data.params["model_sha256"] for run in (former, found)]
    assert len(set(hashes)) == 2


def test_a_model_in_a_folder_is_evaluated_once_until_its_files_change(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(evaluation_outputs, "log_evaluation", scores_only)
    folder, manifest = tmp_path / "model", load_manifest(LocalStore(dataset))
    metadata = ModelMetadata(manifest.classes, 32, "squash", "dogbreed", manifest.digest)
    model_files.save(tiny(0.0), metadata, folder)
    former = evaluate.evaluate(options(dataset, str(folder)))
    assert evaluate.evaluate(options(dataset, str(folder))) == former, "done already"
    model_files.save(tiny(5.0), metadata, folder)
    assert evaluate.evaluate(options(dataset, str(folder)))["run_id"] != former["run_id"]


def test_a_model_is_evaluated_with_the_zoom_of_its_metadata(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    targets: list[EvalTarget] = []

    def log_scores(run: runs.Run, target: EvalTarget, *others: Any) -> None:
        targets.append(target)
        scores_only(run, target, *others)

    monkeypatch.setattr(evaluation_outputs, "log_evaluation", log_scores)
    manifest = load_manifest(LocalStore(dataset))
    for zoom in (1.0, 1.25):
        metadata = ModelMetadata(manifest.classes, 32, "squash", "dogbreed", manifest.digest, zoom)
        model_files.save(tiny(), metadata, tmp_path / "model")
        summary = evaluate.evaluate(options(dataset, str(tmp_path / "model")))
        assert targets[-1].pipeline.view == ResizeSpec(32, "squash", zoom)
        assert runs.get_run(summary["run_id"]).data.params["test_zoom"] == str(zoom)
        assert ("needs images of 40 px, the dataset has 32 px" in caplog.text) == (zoom == 1.25)


def test_a_folder_without_a_model_is_a_data_error(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(DataError, match="has no dogbreed model"):
        evaluate.evaluate(options(dataset, str(dataset)))


class OneImage(EvalTarget):
    """The first image of a split."""

    def predict(self, *others: Any, **named: Any) -> Predictions:
        found = super().predict(*others, **named)
        names = ("labels", "probabilities", "source_ids", "boxes", "sizes")
        return dataclasses.replace(found, **{name: getattr(found, name)[:1] for name in names})


def test_one_image_has_scores_figures_and_a_report_that_name_the_classes_without_images(
    model: keras.Model,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    target = OneImage(**vars(open_target(model, dataset)))
    with runs.start_run("dogbreed", "evaluate", "test", {}, {}) as run:
        evaluation_outputs.log_evaluation(run, target, evaluate_target(target), LINEAGE)
    data = runs.get_run(run.id).data
    assert data.metrics["test_classes_without_images"] == 3
    assert data.metrics["test_macro_f1"] == data.metrics["test_top1"]
    assert all(map(math.isfinite, data.metrics.values()))
    assert len(mlflow.MlflowClient().list_artifacts(run.id, "figures")) == len(FIGURES)
    page = " ".join(Page(mlflow.artifacts.load_text(f"runs:/{run.id}/report.html")).text.split())
    assert "nan" not in page
    assert "Top-1 0.0 % no interval of one image" in page or "Top-1 100.0 % no interval of one image" in page
    sentence = "3 of 4 classes without test images, left out of macro averages: "
    for text in (caplog.text, data.tags["mlflow.note.content"], page):
        assert sentence in text


def test_a_model_that_is_no_better_than_a_guess_is_a_warning(
    model: keras.Model, dataset: Path, found: EvalResult
) -> None:
    guess = dataclasses.replace(found, scores={**found.scores, "top1": 0.3}, intervals={"top1": (0.2, 0.4)})
    sentence = "top-1 30.0% (95 % CI 20.0% to 40.0%) is not significantly better than to predict always"
    assert guess.describe_baseline().startswith(sentence)
    assert f"The {sentence}" in " ".join(Page(rendered(model, dataset, guess)).text.split())
    better = dataclasses.replace(guess, intervals={"top1": (0.26, 0.4)})
    assert better.describe_baseline() == ""


def rendered(model: keras.Model, dataset: Path, found: EvalResult, lineage: TrainingLineage | None = LINEAGE) -> str:
    figures = dict.fromkeys(FIGURES, report.to_data_uri(Image.new("RGB", (30, 30), "red")))
    return report.render("1" * 32, open_target(model, dataset), found, lineage, figures)


def test_the_report_is_self_contained(model: keras.Model, dataset: Path, found: EvalResult) -> None:
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


def test_the_report_has_scores_caveat_dataset_recipe_and_cost(
    model: keras.Model, dataset: Path, found: EvalResult
) -> None:
    text = " ".join(Page(rendered(model, dataset, found)).text.split())
    assert f"{100 * found.scores['top1']:.1f} %" in text
    low, high = found.intervals["top1"]
    assert f"{100 * low:.1f} % to {100 * high:.1f} %" in text
    assert "baseline: always the most frequent classes 25.0 % 100.0 % 16" in text
    assert "images in the pretraining list" in text
    assert "These scores may be optimistic. The model was fine-tuned from pretrained weights (imagenet)" in text
    assert load_manifest(LocalStore(dataset)).digest in text
    assert "recipe <b>own</b>" in text  # escaped: a name is not markup
    assert "bounding box with a margin of 10% stored size shorter side 32 px" in text
    assert "training time 4.5 min" in text


def test_the_report_names_the_zoom(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    figures = dict.fromkeys(FIGURES, report.to_data_uri(Image.new("RGB", (30, 30), "red")))
    target = open_target(model, dataset)
    target = dataclasses.replace(target, pipeline=target.pipeline.with_zoom(1.25))
    page = Page(report.render("1" * 32, target, found, LINEAGE, figures))
    assert "zoom 1.25: the centre 32 px of 40 px" in " ".join(page.text.split())


def test_the_report_of_other_images_mentions_neither_dogs_nor_boxes(
    model: keras.Model, preprocess: Preprocess, tmp_path: Path
) -> None:
    raw = LocalStore(tmp_path / "raw")
    write_tree(raw, [f"{name}/{n}.jpg" for name in ("axle", "bolt", "cog", "disc") for n in range(6)])
    assert preprocess(ImageFolder(raw), LocalStore(tmp_path / "parts"), split="stratified", name="parts") is not None
    target = open_target(model, tmp_path / "parts")
    found = evaluate_target(target)
    names = [name for name, _ in draw_figures(target, found)]
    assert (names, list(found.to_tables())) == (
        [name for name in FIGURES if name != "by_box"], [name for name in TABLES if name != "by_box"]
    )  # fmt: skip
    figures = dict.fromkeys(names, report.to_data_uri(Image.new("RGB", (30, 30), "red")))
    html = report.render("1" * 32, target, found, LINEAGE, figures)
    page = Page(html)
    text = " ".join([*page.text.split(), *(image["alt"] for image in page.all("img"))])
    assert not re.search(r"Stanford|ImageNet|\bbreed|\bdogs?\b|bounding|lawn", text)
    assert "crop none, whole images" in text
    assert "They may have been trained on some of these test images" in text
    assert "The licence of the images of parts also holds" in text


def test_a_training_from_scratch_needs_no_caveat(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    scratch = dataclasses.replace(LINEAGE, params={"weights": "none"})
    assert "optimistic" not in rendered(model, dataset, found, scratch)


def test_a_model_without_a_training_run_has_a_caveat(model: keras.Model, dataset: Path, found: EvalResult) -> None:
    text = Page(rendered(model, dataset, found, None)).text
    assert "The training run of this model is not in this MLflow" in text


def test_a_deferred_dataset_can_be_compared_with_its_whole_images(
    model: keras.Model, source: StanfordDogs, preprocess: Preprocess, tmp_path: Path
) -> None:
    assert preprocess(source, LocalStore(tmp_path / "late"), crop="defer") is not None
    assert preprocess(source, LocalStore(tmp_path / "none"), crop="none") is not None
    late, store = open_target(model, tmp_path / "late"), LocalStore(tmp_path / "late")
    whole, other = (
        evaluate_target(late, other_crop=open_comparison(name, late.manifest, store, VIEW, 8, tmp_path / "cache"))
        for name in ("whole", str(tmp_path / "none"))
    )
    assert whole.comparison is not None
    assert other.comparison is not None
    assert (whole.comparison.name, whole.comparison.images, other.comparison.images) == ("whole images", 16, 16)
    assert whole.comparison.delta == pytest.approx(whole.scores["top1"] - whole.comparison.scores["top1"])
    # the same whole images, stored at another size and resized twice
    assert whole.comparison.scores["loss"] == pytest.approx(other.comparison.scores["loss"], abs=0.1)
    assert dict(whole.to_metrics())["delta_top1"] == whole.comparison.delta


def test_crops_have_no_whole_images_and_other_classes_cannot_be_compared(
    dataset: Path, source: StanfordDogs, preprocess: Preprocess, tmp_path: Path
) -> None:
    store = LocalStore(dataset)
    manifest = load_manifest(store)
    with pytest.raises(DataError, match="holds crops"):
        open_comparison("whole", manifest, store, VIEW, 8, tmp_path)
    assert preprocess(source, LocalStore(tmp_path / "two"), classes=manifest.classes[:2]) is not None
    with pytest.raises(DataError, match="other classes"):
        open_comparison(str(tmp_path / "two"), manifest, store, VIEW, 8, tmp_path)
    assert open_comparison(None, manifest, store, VIEW, 8, tmp_path) is None


def test_images_with_a_duplicate_in_training_are_scored_separately(found: EvalResult, dataset: Path) -> None:
    manifest, source_ids = load_manifest(LocalStore(dataset)), found.predictions.source_ids
    duplicates = (
        near(source_ids[0], "n/train_1"),
        group("n/train_2", (source_ids[1], "file")),
        near(source_ids[2], source_ids[3]),
    )
    kept = dataclasses.replace(manifest, config={**manifest.config, "duplicates": "keep"})
    subsets = score_subsets(found.predictions, kept, frozenset(), duplicates)
    assert {name: scores["images"] for name, scores in subsets.items()} == {
        "with_duplicate": 2,
        "without_duplicate": 14,
    }
    assert subsets["with_duplicate"]["top1"] == np.mean(found.predictions.correct[:2])
    assert score_subsets(found.predictions, manifest, frozenset()) == {}


def test_a_subset_without_images_has_no_scores(found: EvalResult, dataset: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    subsets = score_subsets(found.predictions, manifest, frozenset({"n99999999"}))
    assert subsets["seen"] == {"images": 0}
    assert subsets["unseen"]["top1"] == found.scores["top1"]


def test_datasets_without_a_common_image_cannot_be_compared(found: EvalResult) -> None:
    strange = dataclasses.replace(found.predictions, source_ids=tuple(f"other/{n}" for n in range(16)))
    with pytest.raises(DataError, match="none of these"):
        compare_crops(found.predictions, strange, "elsewhere")


def test_a_model_of_other_classes_is_a_data_error_and_of_other_data_a_warning(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = load_manifest(LocalStore(dataset))
    only = r"1 only in the model \(a\) and 4 only in the dataset \(n9000000"
    with pytest.raises(DataError, match=only):
        check_classes_match(ModelMetadata(("a",), 32, "squash", "dogbreed", manifest.digest), manifest)
    with pytest.raises(DataError, match=r"\(4\) differ: the same names in another order"):
        check_classes_match(ModelMetadata(manifest.classes[::-1], 32, "squash", "dogbreed", manifest.digest), manifest)
    more = (*manifest.classes, *"abcdefg")
    with pytest.raises(DataError, match=r"differ: 7 only in the model \(a, b, c, d, e and 2 more\); evaluate"):
        check_classes_match(ModelMetadata(more, 32, "squash", "dogbreed", manifest.digest), manifest)
    check_classes_match(ModelMetadata(manifest.classes, 32, "squash", "dogbreed", manifest.digest), manifest)
    assert caplog.text == ""
    check_classes_match(ModelMetadata(manifest.classes, 32, "squash", "dogbreed", "other"), manifest)
    assert "trained on dataset other, this is" in caplog.text
