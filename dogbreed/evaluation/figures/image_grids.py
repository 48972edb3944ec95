"""Contact sheets of photos with what a model says to them."""

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

from dogbreed.evaluation.figures.style import BLUE, STYLE, VERMILLION, new_figure, pluralize, truncate
from dogbreed.evaluation.metrics import Labels, Probabilities, breed_name, validate

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
SHEET_COLUMNS = 6
PAIRS_A_ROW = 4


def sample_predictions(
    images: Images, labels: Labels, probabilities: Probabilities, classes: Sequence[str], count: int = 24
) -> Figure:
    """Return a contact sheet: half right ones spread over the split, half the most confidently wrong ones.

    images: uint8 [N, s, s, 3]; labels: int [N]; probabilities: [N, C]. Where one half is short of photos the
    other fills up. ValueError: see `validate`, or another number of images than labels.
    """
    labels, probabilities = validate(labels, probabilities, classes)
    if len(images) != len(labels):
        raise ValueError(f"found {len(images)} images and {len(labels)} labels; pass one label an image")
    chosen = sample(labels, probabilities, count)
    right = int(np.sum(probabilities[chosen].argmax(axis=1) == labels[chosen]))
    errors = pluralize(len(chosen) - right, "most confident error")
    title = f"{right} right, {errors}, of {pluralize(len(labels), 'photo')}"
    return image_grid(images[chosen], labels[chosen], probabilities[chosen], classes, title)


@rc_context(STYLE)
def image_grid(
    images: Images, labels: Labels, probabilities: Probabilities, classes: Sequence[str], title: str
) -> Figure:
    """Return all photos in the order given, six a row, each with its breed, its prediction and how sure that was.

    images: uint8 [N, s, s, 3]; labels: int [N]; probabilities: [N, C].
    """
    columns, rows = min(SHEET_COLUMNS, max(3, len(images))), max(1, ceil(len(images) / SHEET_COLUMNS))
    figure = new_figure(2.7 * columns, 3.1 * rows + 0.6, title)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1)
        _photo(axes, image, int(labels[index]), probabilities[index], classes)
    return figure


@rc_context(STYLE)
def grad_cam_grid(
    images: Images, maps: Maps, labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> Figure:
    """Return each photo beside itself under the evidence for its predicted breed, four pairs a row.

    images: uint8 [N, s, s, 3]; maps: float32 [N, h, w] in 0-1, as `grad_cam.grad_cam` makes them; labels: int [N];
    probabilities: [N, C].
    """
    rows = max(1, ceil(len(images) / PAIRS_A_ROW))
    right = int(np.sum(probabilities.argmax(axis=1) == labels))
    title = f"What spoke for the predicted breed (Grad-CAM): {right} right, {len(images) - right} wrong"
    figure = new_figure(4.6 * PAIRS_A_ROW, 2.75 * rows + 0.6, title)
    for index, (image, place) in enumerate(zip(images, maps, strict=True)):
        plain, lit = (figure.add_subplot(rows, 2 * PAIRS_A_ROW, 2 * index + side) for side in (1, 2))
        _photo(plain, image, int(labels[index]), probabilities[index], classes)
        _show_heatmap(lit, image, place)
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
    """Return a row a pair of breeds that are taken for one another: how often, and photos of both.

    table: the first rows of `predictions.confusable_pairs`; shown: for each of them positions in `images` (uint8
    [N, s, s, 3]), `labels` and `probabilities`, None for an empty place.
    """
    columns = max(map(len, shown), default=1)
    figure = new_figure(2.4 * columns + 2, 2.8 * len(table) + 0.6, "Breeds that are most often taken for one another")
    grid = figure.add_gridspec(max(1, len(table)), columns + 1)
    for row, (pair, positions) in enumerate(zip(table.to_dict("records"), shown, strict=True)):
        words = figure.add_subplot(grid[row, 0])
        words.set_axis_off()
        words.text(0.5, 0.5, _pair_note(pair), ha="center", va="center", fontsize=12, linespacing=1.5)
        for column, at in enumerate(positions, start=1):
            if at is not None:
                _photo(figure.add_subplot(grid[row, column]), images[at], int(labels[at]), probabilities[at], classes)
    return figure


def sample(labels: Labels, probabilities: Probabilities, count: int) -> npt.NDArray[np.int64]:
    """Return up to `count` indices: right ones evenly spread over the order given, then the worst errors."""
    hit = probabilities.argmax(axis=1) == labels
    right, wrong = np.flatnonzero(hit), np.flatnonzero(~hit)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    wrong = wrong[: max(count // 2, count - len(right))]
    places = min(count - len(wrong), len(right))
    return np.concatenate([right[np.arange(places) * len(right) // max(places, 1)], wrong])


def _show_image(axes: Axes, image: Images) -> None:
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])


def _show_heatmap(axes: Axes, image: Images, place: Maps) -> None:
    """Show the photo in gray under the map: yellow where it is high, dark blue where it is 0."""
    size = image.shape[0]
    smooth = np.asarray(Image.fromarray(place).resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    gray = image.mean(axis=2, keepdims=True) / 255
    _show_image(axes, 0.5 * gray + 0.5 * colormaps["cividis"](smooth)[..., :3])


def _pair_note(pair: dict[Hashable, Any]) -> str:
    first, second = (truncate(pair[side]).replace(" ", "\n") for side in ("breed", "other"))
    return f"{first}\n–\n{second}\n{pair['share']:.0%} of {pluralize(pair['photos'], 'photo')}"


def _photo(axes: Axes, image: Images, label: int, probabilities: Probabilities, classes: Sequence[str]) -> None:
    predicted = int(probabilities.argmax())
    sign, colour = ("✓", BLUE) if predicted == label else ("✗", VERMILLION)
    _show_image(axes, image)
    axes.spines[:].set(visible=True, color=colour, linewidth=4)
    said = f"{sign} {probabilities[predicted]:.0%}"
    badge = {"facecolor": colour, "edgecolor": "none", "pad": 3}
    axes.text(0.05, 0.95, said, transform=axes.transAxes, va="top", color="white", fontsize=15, bbox=badge)
    true_breed, predicted_breed = (truncate(breed_name(classes[index])) for index in (label, predicted))
    axes.set_xlabel(f"true: {true_breed}\n{sign} {predicted_breed}", fontsize=9)
