"""Confusion matrix."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dogbreed.core.text import pluralize
from dogbreed.data.class_names import breed_name
from dogbreed.evaluation.figures.style import GREY, STYLE, count_classes, new_figure, truncate
from dogbreed.evaluation.metrics import Labels, Probabilities, confusion_counts, validate

ANNOTATED_CLASSES = 20  # up to here a cell has room for its percentage


@rc_context(STYLE)
def confusion_matrix(labels: Labels, probabilities: Probabilities, classes: Sequence[str]) -> Figure:
    """Return the row-normalised confusion matrix, with classes that are confused with each other side by side.

    A class without images is a grey row, and the title counts it. Raises ValueError, see `validate`.

    Args:
        labels: int [N].
        probabilities: [N, C].
    """
    labels, probabilities = validate(labels, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    counts = confusion_counts(labels, predicted, len(classes))
    images = counts.sum(axis=1, keepdims=True)
    rates = np.divide(counts, images, out=np.full(counts.shape, np.nan), where=images > 0)
    order = block_order(np.nan_to_num(rates))
    top1 = f"top-1 {np.mean(predicted == labels):.1%}" if len(labels) else "top-1 undefined"
    # 0.15 inch holds a 7 pt label; above 200 classes a figure of over 5000 px would cost too much memory.
    cell = 0.45 if len(classes) <= ANNOTATED_CLASSES else min(0.15, 30 / len(classes))
    side = max(cell * len(classes), 3) + 3
    empty = int(np.sum(images == 0)) if len(labels) else 0
    title = f"Confusion of {count_classes(len(classes), empty)}: {pluralize(len(labels), 'image')}, {top1}"
    figure = new_figure(1.1 * side + 0.5, side, title)
    names = [truncate(breed_name(classes[index])) for index in order]
    _matrix(figure, rates[np.ix_(order, order)], names, fontsize=min(9, 0.65 * 72 * cell))
    return figure


def block_order(rates: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return int [C], an order of classes in which those confused with each other are neighbours.

    rates: [C, C] in 0-1, rows true, columns predicted. Average linkage on the symmetrised confusion, leaves
    ordered optimally (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # importing it takes a third of a second
    from scipy.spatial.distance import squareform

    distance = 1 - (rates + rates.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _matrix(figure: Figure, rates: npt.NDArray[np.float64], names: list[str], fontsize: float) -> None:
    axes = figure.subplots()
    # the square root makes errors of a few per cent visible
    colours = colormaps["viridis"].with_extremes(bad=GREY)
    image = axes.imshow(rates, cmap=colours, norm=PowerNorm(0.5, 0, 1))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(names)), names, fontsize=fontsize)
    label_size = max(10, 1.2 * figure.get_figwidth())
    axes.set_xlabel("predicted class", fontsize=label_size)
    axes.set_ylabel("true class", fontsize=label_size)
    axes.spines[:].set_visible(False)
    ticks = [0, 0.05, 0.2, 0.5, 1]
    bar = figure.colorbar(image, ax=axes, shrink=0.6, format=PercentFormatter(1), ticks=ticks)
    bar.set_label("fraction of the true class", fontsize=label_size)
    bar.ax.tick_params(labelsize=label_size)
    if len(names) <= ANNOTATED_CLASSES:
        for row, column in np.argwhere(rates > 0):
            rate = rates[row, column]
            colour = "white" if rate < 0.4 else "black"
            axes.text(column, row, f"{100 * rate:.0f}", ha="center", va="center", color=colour, fontsize=9)
