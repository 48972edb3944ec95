"""Grids of images with their predictions."""

from collections.abc import Hashable, Sequence
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dogbreed.core.text import pluralize
from dogbreed.data.class_names import breed_name
from dogbreed.evaluation.figures.style import BLUE, STYLE, VERMILLION, new_figure, truncate
from dogbreed.evaluation.metrics import Labels, Probabilities, validate

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
GRID_COLUMNS = 6
PAIRS_PER_ROW = 4


def sample_predictions(
    images: Images, labels: Labels, probabilities: Probabilities, classes: Sequence[str], count: int = 24
) -> Figure:
    """Return a grid: one half correct predictions spread over the split, one half the most confident errors.

    If there are too few of one kind, more of the other are shown.

    Args:
        images: uint8 [N, s, s, 3].
        labels: int [N].
        probabilities: [N, C].

    Raises:
        ValueError: see `validate`, or the number of images differs from that of labels.
    """
    labels, probabilities = validate(labels, probabilities, classes)
    if len(images) != len(labels):
        raise ValueError(f"found {len(images)} images and {len(labels)} labels; pass one label per image")
    chosen = sample(labels, probabilities, count)
    title = sample_title(probabilities[chosen].argmax(axis=1) == labels[chosen], len(labels))
    return image_grid(images[chosen], labels[chosen], probabilities[chosen], classes, title)


def sample_title(correct: npt.NDArray[np.bool_], total: int) -> str:
    """Return the title of a grid of `sample`d images: how many are correct, how many errors, of how many."""
    right = int(correct.sum())
    errors = pluralize(len(correct) - right, "most confident error")
    return f"{right} correct, {errors}, of {pluralize(total, 'image')}"


@rc_context(STYLE)
def image_grid(
    images: Images, labels: Labels, probabilities: Probabilities, classes: Sequence[str], title: str
) -> Figure:
    """Return all images in the given order, six per row, each with its true class, prediction and confidence.

    Args:
        images: uint8 [N, s, s, 3].
        labels: int [N].
        probabilities: [N, C].
    """
    columns, rows = min(GRID_COLUMNS, max(3, len(images))), max(1, ceil(len(images) / GRID_COLUMNS))
    figure = new_figure(2.7 * columns, 3.1 * rows + 0.6, title)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1)
        _show_prediction(axes, image, int(labels[index]), probabilities[index], classes)
    return figure


@rc_context(STYLE)
def grad_cam_grid(
    images: Images, maps: Maps, labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> Figure:
    """Return each image beside its Grad-CAM heat map for the predicted class, four pairs per row.

    Args:
        images: uint8 [N, s, s, 3].
        maps: float32 [N, h, w] in 0-1, see `grad_cam.grad_cam`.
        labels: int [N].
        probabilities: [N, C].
    """
    rows = max(1, ceil(len(images) / PAIRS_PER_ROW))
    right = int(np.sum(probabilities.argmax(axis=1) == labels))
    title = f"Grad-CAM of the predicted class: {right} correct, {len(images) - right} wrong"
    figure = new_figure(4.6 * PAIRS_PER_ROW, 2.75 * rows + 0.6, title)
    for index, (image, heat) in enumerate(zip(images, maps, strict=True)):
        plain, overlaid = (figure.add_subplot(rows, 2 * PAIRS_PER_ROW, 2 * index + side) for side in (1, 2))
        _show_prediction(plain, image, int(labels[index]), probabilities[index], classes)
        _show_heatmap(overlaid, image, heat)
    return figure


@rc_context(STYLE)
def confusion_pairs_grid(
    table: pd.DataFrame,
    shown: Sequence[Sequence[int | None]],
    images: Images,
    labels: Labels,
    probabilities: Probabilities,
    classes: Sequence[str],
) -> Figure:
    """Return one row per pair of confused classes: how often, and images of both.

    Args:
        table: the first rows of `predictions.confusable_pairs`.
        shown: for each of them positions in `images`, `labels` and `probabilities`; None for an empty cell.
        images: uint8 [N, s, s, 3].
        labels: int [N].
        probabilities: [N, C].
    """
    columns = max(map(len, shown), default=1)
    figure = new_figure(2.4 * columns + 2, 2.8 * len(table) + 0.6, "Most confused pairs of classes")
    grid = figure.add_gridspec(max(1, len(table)), columns + 1)
    for row, (pair, positions) in enumerate(zip(table.to_dict("records"), shown, strict=True)):
        words = figure.add_subplot(grid[row, 0])
        words.set_axis_off()
        words.text(0.5, 0.5, _pair_note(pair), ha="center", va="center", fontsize=12, linespacing=1.5)
        for column, at in enumerate(positions, start=1):
            if at is not None:
                _show_prediction(
                    figure.add_subplot(grid[row, column]), images[at], int(labels[at]), probabilities[at], classes
                )
    return figure


def sample(labels: Labels, probabilities: Probabilities, count: int) -> npt.NDArray[np.int64]:
    """Return up to `count` indices: correct ones evenly spread over the given order, then the most confident errors."""
    correct = probabilities.argmax(axis=1) == labels
    right, wrong = np.flatnonzero(correct), np.flatnonzero(~correct)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    wrong = wrong[: max(count // 2, count - len(right))]
    number = min(count - len(wrong), len(right))
    return np.concatenate([right[np.arange(number) * len(right) // max(number, 1)], wrong])


def _show_image(axes: Axes, image: Images) -> None:
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])


def _show_heatmap(axes: Axes, image: Images, heat: Maps) -> None:
    """Show the image in gray under the heat map: yellow is 1, dark blue is 0."""
    size = image.shape[0]
    smooth = np.asarray(Image.fromarray(heat).resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    gray = image.mean(axis=2, keepdims=True) / 255
    _show_image(axes, 0.5 * gray + 0.5 * colormaps["cividis"](smooth)[..., :3])


def _pair_note(pair: dict[Hashable, Any]) -> str:
    first, second = (truncate(pair[side]).replace(" ", "\n") for side in ("class", "other_class"))
    return f"{first}\n–\n{second}\n{pair['confused_fraction']:.0%} of {pluralize(pair['images'], 'image')}"


def _show_prediction(
    axes: Axes, image: Images, label: int, probabilities: Probabilities, classes: Sequence[str]
) -> None:
    predicted = int(np.argmax(probabilities))
    sign, colour = ("✓", BLUE) if predicted == label else ("✗", VERMILLION)
    _show_image(axes, image)
    axes.spines[:].set(visible=True, color=colour, linewidth=4)
    text = f"{sign} {probabilities[predicted]:.0%}"
    badge = {"facecolor": colour, "edgecolor": "none", "pad": 3}
    axes.text(0.05, 0.95, text, transform=axes.transAxes, va="top", color="white", fontsize=15, bbox=badge)
    true_name, predicted_name = (truncate(breed_name(classes[index])) for index in (label, predicted))
    axes.set_xlabel(f"true: {true_name}\n{sign} {predicted_name}", fontsize=9)
