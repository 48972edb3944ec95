"""An evaluation, from a model's answers to everything that its run in MLflow holds."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from dogbreed.core.errors import DataError
from dogbreed.core.storage import Store, open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.evaluation import baselines, calibration, grad_cam, intervals, metrics, predictions, report, result
from dogbreed.evaluation.figures import bars, confusion, image_grids
from dogbreed.evaluation.figures.calibration import reliability_diagram
from dogbreed.evaluation.figures.style import rasterize
from dogbreed.evaluation.predictions import Indices
from dogbreed.evaluation.result import EvalResult, EvalTarget
from dogbreed.serving.classifier import ModelMetadata
from dogbreed.tracking.lineage import TrainingLineage
from dogbreed.tracking.runs import Run

WHOLE = "whole"  # --compare-with: the whole photos of a dataset that was made with --crop defer
SHOWN = 24  # photos a sheet
EXPLAINED = 8  # right ones, and as many wrong ones
PAIRS = 8


def open_comparison(
    uri: str | None, manifest: Manifest, store: Store, view: ResizeSpec, batch: int, cache: Path
) -> tuple[str, InputPipeline] | None:
    """Return the batches of another dataset, or of this one's whole photos, with what people call them.

    DataError where there are no whole photos, or other breeds.
    """
    if uri is None:
        return None
    if uri == WHOLE:
        if manifest.config["crop"] != "defer":
            raise DataError(
                "the dataset holds crops, not whole photos; give --compare-with a dataset made with --crop none, "
                "or evaluate on one made with --crop defer"
            )
        whole = dataclasses.replace(manifest, config={**manifest.config, "crop": "none"})
        return "whole photos", InputPipeline(whole, store, view, batch, cache)
    other = open_store(uri)
    found = load_manifest(other)
    if found.classes != manifest.classes:
        raise DataError(f"--compare-with {uri} has other classes than --data; preprocess the same ones")
    return uri, InputPipeline(found, other, view, batch, cache)


def zero_shot_baseline(
    weights_uri: str | None, model: str, metadata: ModelMetadata, scratch: Path
) -> keras.Model | None:
    """Return the design of `model` with ImageNet's own head, as `baselines.zero_shot_classifier` does; None without a
    head.
    """
    return (
        baselines.zero_shot_classifier(model, metadata.size, metadata.classes, weights_uri, scratch)
        if weights_uri
        else None
    )


def evaluate(
    target: EvalTarget,
    names: frozenset[str] = frozenset(),
    baseline: keras.Model | None = None,
    other: tuple[str, InputPipeline] | None = None,
) -> EvalResult:
    """Ask the model, and whatever stands beside it, for its answers and return what they come to.

    names: of photos that a pretraining may have seen; baseline: a model to beat; other: the same photos, cropped
    otherwise, and what people call them.
    """
    start_time = time.monotonic()
    found = target.predict()
    rate = len(found.labels) / (time.monotonic() - start_time)
    floors = {"majority_baseline": predictions.majority_baseline(found.labels, len(found.classes))}
    if baseline:
        preds = target.predict(model=baseline)
        floors["imagenet_zero_shot"] = metrics.compute_metrics(preds.labels, preds.probabilities)
    return EvalResult(
        predictions=found,
        scores=metrics.compute_metrics(found.labels, found.probabilities),
        intervals=intervals.bootstrap_scores(found.labels, found.probabilities),
        reliability=calibration.reliability_table(found.confidence, found.hits),
        baselines=floors,
        subsets=result.score_subsets(found, target.manifest, names),
        comparison=result.compare(found, target.predict(pipeline=other[1]), other[0]) if other else None,
        images_per_second=rate,
    )


def log_evaluation(run: Run, target: EvalTarget, found: EvalResult, lineage: TrainingLineage | None) -> None:
    """Give the run every metric, table and picture, and the report that holds them all."""
    split = target.split
    scores = {f"{split}_{name}": value for name, value in found.to_metrics()}
    run.log_metrics(0, {**scores, "images_per_second": found.images_per_second})
    tables = {
        "per_breed": metrics.per_class(
            found.predictions.labels, found.predictions.probabilities, found.predictions.classes
        ),
        "predictions": predictions.per_example_table(found.predictions),
        "confusable_pairs": predictions.confusable_pairs(found.predictions),
        "by_box": predictions.accuracy_by_box_size(found.predictions),
        "reliability": found.reliability,
    }
    for name, table in tables.items():
        run.log_text(f"tables/{name}_{split}.csv", table.to_csv(index=False))
    pictures = {}
    for name, figure in _figures(target, found):
        picture = rasterize(figure)
        run.log_figure(f"{name}_{split}", picture)
        pictures[name] = report.to_data_uri(picture)
    mlflow.set_tag(MLFLOW_RUN_NOTE, report.note(found, lineage))
    run.log_text("report.html", report.render(run.id, target, found, lineage, pictures))


def _figures(target: EvalTarget, found: EvalResult) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each picture, one at a time: a confusion matrix takes 40 MB."""
    preds = found.predictions
    table = metrics.per_class(preds.labels, preds.probabilities, preds.classes)
    yield "confusion_matrix", confusion.confusion_matrix(preds.labels, preds.probabilities, preds.classes)
    yield "recall_by_breed", bars.recall_bars(table)
    yield "reliability", reliability_diagram(found.reliability)
    yield "by_box", bars.box_bars(predictions.accuracy_by_box_size(preds), found.scores["top1"])
    hardest = preds.hardest(SHOWN)
    title = f"The {len(hardest)} hardest of {len(preds.labels):,} photos"
    yield "hardest_photos", _image_grid(target, found, hardest, title)
    mixed = image_grids.sample(preds.labels, preds.probabilities, SHOWN)
    right = int(preds.hits[mixed].sum())
    title = f"{right} right, {len(mixed) - right} most confident errors, of {len(preds.labels):,} photos"
    yield "sample_predictions", _image_grid(target, found, mixed, title)
    yield "confusable_pairs", _confusion_pairs_grid(target, found)
    yield "grad_cam", _grad_cam_grid(target, found)


def _image_grid(target: EvalTarget, found: EvalResult, places: Indices, title: str) -> Figure:
    preds, images = found.predictions, target.pipeline.images_at(target.split, places)
    return image_grids.image_grid(images, preds.labels[places], preds.probabilities[places], preds.classes, title)


def _grad_cam_grid(target: EvalTarget, found: EvalResult) -> Figure:
    preds = found.predictions
    places = image_grids.sample(preds.labels, preds.probabilities, 2 * EXPLAINED)
    images = target.pipeline.images_at(target.split, places)
    maps = grad_cam.grad_cam(target.model, images, preds.predicted[places])
    return image_grids.grad_cam_grid(images, maps, preds.labels[places], preds.probabilities[places], preds.classes)


def _confusion_pairs_grid(target: EvalTarget, found: EvalResult) -> Figure:
    """Draw for each pair: a right one of the first breed, errors both ways, a right one of the other."""
    preds = found.predictions
    table = predictions.confusable_pairs(preds).head(PAIRS)
    rows = []
    for pair in table.to_dict("records"):
        a, b = int(pair["label"]), int(pair["other_label"])
        ways = ((a, a, 1), (a, b, 2), (b, a, 2), (b, b, 1))
        rows.append([place for label, other, count in ways for place in _first(preds.confused_as(label, other), count)])
    places = np.unique([place for row in rows for place in row if place is not None]).astype(np.int64)
    position = {int(place): at for at, place in enumerate(places)}
    shown = [[None if place is None else position[place] for place in row] for row in rows]
    images = target.pipeline.images_at(target.split, places)
    return image_grids.confusion_pairs_grid(
        table, shown, images, preds.labels[places], preds.probabilities[places], preds.classes
    )


def _first(places: Indices, count: int) -> list[int | None]:
    """Return the first places, and None for each that is missing."""
    return [int(places[at]) if at < len(places) else None for at in range(count)]
