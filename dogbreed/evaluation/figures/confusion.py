"""Which breeds are taken for which."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dogbreed.evaluation.figures.style import GREY, STYLE, new_figure, pluralize, truncate
from dogbreed.evaluation.metrics import Labels, Probabilities, breed_name, confusion_counts, validate

ANNOTATED_CLASSES = 20  # up to here a cell has room for its percentage


@rc_context(STYLE)
def confusion_matrix(labels: Labels, probabilities: Probabilities, classes: Sequence[str]) -> Figure:
    """Return the row-normalised confusion matrix, with breeds that are mistaken for each other side by side.

    labels: int [N]; probabilities: [N, C]; a class without photos is a grey row. ValueError: see `validate`.
    """
    labels, probabilities = validate(labels, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    counts = confusion_counts(labels, predicted, len(classes))
    photos = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, photos, out=np.full(counts.shape, np.nan), where=photos > 0)
    order = block_order(np.nan_to_num(shares))
    top1 = f"top-1 {np.mean(predicted == labels):.1%}" if len(labels) else "top-1 undefined"
    # 0.15 inch holds a 7 pt label; above 200 classes a picture of over 5000 px would cost too much memory.
    cell = 0.45 if len(classes) <= ANNOTATED_CLASSES else min(0.15, 30 / len(classes))
    side = max(cell * len(classes), 3) + 3
    title = f"Confusion of {len(classes)} breeds: {pluralize(len(labels), 'photo')}, {top1}"
    figure = new_figure(1.1 * side + 0.5, side, title)
    names = [truncate(breed_name(classes[index])) for index in order]
    _matrix(figure, shares[np.ix_(order, order)], names, fontsize=min(9, 0.65 * 72 * cell))
    return figure


def block_order(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return int [C], an order of classes where those confused with each other are neighbours.

    shares: [C, C] in 0-1, rows true, columns predicted. Average linkage on the symmetrised confusion, leaves
    ordered optimally (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # a third of a second, which jobs without scores spare
    from scipy.spatial.distance import squareform

    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _matrix(figure: Figure, shares: npt.NDArray[np.float64], names: list[str], fontsize: float) -> None:
    axes = figure.subplots()
    # The square root brings out the few per cent of an error that a linear scale leaves next to zero.
    colours = colormaps["viridis"].with_extremes(bad=GREY)
    image = axes.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0, 1))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(names)), names, fontsize=fontsize)
    label_size = max(10, 1.2 * figure.get_figwidth())
    axes.set_xlabel("predicted breed", fontsize=label_size)
    axes.set_ylabel("true breed", fontsize=label_size)
    axes.spines[:].set_visible(False)
    ticks = [0, 0.05, 0.2, 0.5, 1]
    bar = figure.colorbar(image, ax=axes, shrink=0.6, format=PercentFormatter(1), ticks=ticks)
    bar.set_label("share of the true breed's photos", fontsize=label_size)
    bar.ax.tick_params(labelsize=label_size)
    if len(names) <= ANNOTATED_CLASSES:
        for row, column in np.argwhere(shares > 0):
            share = shares[row, column]
            colour = "white" if share < 0.4 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=9)
