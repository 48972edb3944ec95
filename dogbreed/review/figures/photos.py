"""Contact sheets of photos with what a model says to them."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dogbreed.review.metrics import Labels, Probabilities, breed_name, checked
from dogbreed.review.style import BLUE, STYLE, VERMILLION, counted, new_figure, short

Images = npt.NDArray[np.uint8]
SHEET_COLUMNS = 6


def sample_predictions(
    images: Images, labels: Labels, probabilities: Probabilities, classes: Sequence[str], count: int = 24
) -> Figure:
    """Return a contact sheet: half right ones spread over the split, half the most confidently wrong ones.

    images: uint8 [N, s, s, 3]; labels: int [N]; probabilities: [N, C]. Where one half is short of photos the
    other fills up. ValueError: see `checked`, or another number of images than labels.
    """
    labels, probabilities = checked(labels, probabilities, classes)
    if len(images) != len(labels):
        raise ValueError(f"found {len(images)} images and {len(labels)} labels; pass one label an image")
    chosen = sample(labels, probabilities, count)
    right = int(np.sum(probabilities[chosen].argmax(axis=1) == labels[chosen]))
    errors = counted(len(chosen) - right, "most confident error")
    title = f"{right} right, {errors}, of {counted(len(labels), 'photo')}"
    return sheet(images[chosen], labels[chosen], probabilities[chosen], classes, title)


@rc_context(STYLE)
def sheet(images: Images, labels: Labels, probabilities: Probabilities, classes: Sequence[str], title: str) -> Figure:
    """Return all photos in the order given, six a row, each with its breed, its prediction and how sure that was.

    images: uint8 [N, s, s, 3]; labels: int [N]; probabilities: [N, C].
    """
    columns, rows = min(SHEET_COLUMNS, max(3, len(images))), max(1, ceil(len(images) / SHEET_COLUMNS))
    figure = new_figure(2.7 * columns, 3.1 * rows + 0.6, title)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1)
        _photo(axes, image, int(labels[index]), probabilities[index], classes)
    return figure


def sample(labels: Labels, probabilities: Probabilities, count: int) -> npt.NDArray[np.int64]:
    """Return up to `count` indices: right ones evenly spread over the order given, then the worst errors."""
    hit = probabilities.argmax(axis=1) == labels
    right, wrong = np.flatnonzero(hit), np.flatnonzero(~hit)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    wrong = wrong[: max(count // 2, count - len(right))]
    places = min(count - len(wrong), len(right))
    return np.concatenate([right[np.arange(places) * len(right) // max(places, 1)], wrong])


def _photo(axes: Axes, image: Images, label: int, probabilities: Probabilities, classes: Sequence[str]) -> None:
    predicted = int(probabilities.argmax())
    sign, colour = ("✓", BLUE) if predicted == label else ("✗", VERMILLION)
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=colour, linewidth=4)
    said = f"{sign} {probabilities[predicted]:.0%}"
    badge = {"facecolor": colour, "edgecolor": "none", "pad": 3}
    axes.text(0.05, 0.95, said, transform=axes.transAxes, va="top", color="white", fontsize=15, bbox=badge)
    true_breed, predicted_breed = (short(breed_name(classes[index])) for index in (label, predicted))
    axes.set_xlabel(f"true: {true_breed}\n{sign} {predicted_breed}", fontsize=8)
