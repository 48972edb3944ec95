"""The figures of an evaluation, one after the other."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from dogbreed.core.text import pluralize
from dogbreed.evaluation import grad_cam, metrics, predictions
from dogbreed.evaluation.figures import bars, confusion, image_grids
from dogbreed.evaluation.figures.calibration import reliability_diagram
from dogbreed.evaluation.predictions import Indices
from dogbreed.evaluation.result import EvalResult, EvalTarget

GRID_IMAGES = 24
GRAD_CAM_IMAGES = 16
PAIRS = 8


def draw_figures(target: EvalTarget, result: EvalResult) -> Iterator[tuple[str, Figure]]:
    """Yield name and figure, one at a time: a confusion matrix takes 40 MB.

    `by_box` only if the images have bounding boxes.
    """
    found = result.predictions
    table = metrics.per_class(found.labels, found.probabilities, found.classes)
    yield "confusion_matrix", confusion.confusion_matrix(found.labels, found.probabilities, found.classes)
    yield "recall_by_class", bars.recall_bars(table)
    yield "reliability", reliability_diagram(result.reliability)
    if found.has_boxes:
        yield "by_box", bars.box_bars(predictions.accuracy_by_box_size(found), result.scores["top1"])
    yield "hardest_images", _hardest_images(target, result)
    yield "sample_predictions", _sample_predictions(target, result)
    yield "confusable_pairs", _confusable_pairs(target, result)
    yield "grad_cam", _grad_cam(target, result)


def _hardest_images(target: EvalTarget, result: EvalResult) -> Figure:
    indices = result.predictions.hardest(GRID_IMAGES)
    title = f"The {len(indices)} hardest of {pluralize(len(result.predictions.labels), 'image')}"
    return _image_grid(target, result, indices, title)


def _sample_predictions(target: EvalTarget, result: EvalResult) -> Figure:
    found = result.predictions
    indices = image_grids.sample(found.labels, found.probabilities, GRID_IMAGES)
    return _image_grid(target, result, indices, image_grids.sample_title(found.correct[indices], len(found.labels)))


def _image_grid(target: EvalTarget, result: EvalResult, indices: Indices, title: str) -> Figure:
    found, images = result.predictions, target.pipeline.images_at(target.split, indices)
    return image_grids.image_grid(images, found.labels[indices], found.probabilities[indices], found.classes, title)


def _grad_cam(target: EvalTarget, result: EvalResult) -> Figure:
    found = result.predictions
    indices = image_grids.sample(found.labels, found.probabilities, GRAD_CAM_IMAGES)
    images = target.pipeline.images_at(target.split, indices)
    maps = grad_cam.grad_cam(target.model, images, found.predicted[indices])
    return image_grids.grad_cam_grid(images, maps, found.labels[indices], found.probabilities[indices], found.classes)


def _confusable_pairs(target: EvalTarget, result: EvalResult) -> Figure:
    """Draw for each pair: a correct image of the first class, errors both ways, a correct image of the other."""
    found = result.predictions
    table = predictions.confusable_pairs(found).head(PAIRS)
    rows = []
    for pair in table.to_dict("records"):
        a, b = int(pair["label"]), int(pair["other_label"])
        columns = ((a, a, 1), (a, b, 2), (b, a, 2), (b, b, 1))
        rows.append([i for label, other, n in columns for i in _first(found.confused_as(label, other), n)])
    indices = np.unique([index for row in rows for index in row if index is not None]).astype(np.int64)
    position = {int(index): at for at, index in enumerate(indices)}
    shown = [[None if index is None else position[index] for index in row] for row in rows]
    images = target.pipeline.images_at(target.split, indices)
    return image_grids.confusion_pairs_grid(
        table, shown, images, found.labels[indices], found.probabilities[indices], found.classes
    )


def _first(indices: Indices, count: int) -> list[int | None]:
    """Return the first indices, and None for each that is missing."""
    return [int(indices[at]) if at < len(indices) else None for at in range(count)]
