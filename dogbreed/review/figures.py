"""Pictures of a training and of a classifier, in one style, for MLflow's thumbnails and at full size."""

from collections.abc import Hashable, Sequence
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from dogbreed.review.metrics import Labels, Probabilities, breed_name, checked, confusion_counts
from dogbreed.review.style import BLUE, GREY, STYLE, VERMILLION, counted, new_figure, short

Images = npt.NDArray[np.uint8]

SPLIT_COLOURS = {"train": BLUE, "validation": GREY, "test": VERMILLION}
SHEET_COLUMNS = 6
BREEDS_A_PANEL = 60
ANNOTATED_CLASSES = 20  # up to here a cell has room for its percentage


@rc_context(STYLE)
def learning_curves(history: pd.DataFrame, head_epochs: int = 0) -> Figure:
    """Return loss and top-1 accuracy by epoch, training and validation, and mark the best epoch.

    history: one row an epoch, columns epoch, loss, val_loss (nats), top1, val_top1 (fractions 0-1).
    Each panel marks its own best epoch: the lowest loss need not be where accuracy peaks.
    head_epochs: so many epochs trained the head alone; a line says where the body joined.
    """
    figure = new_figure(10, 4.8, f"Learning curves, {counted(len(history), 'epoch')}")
    loss, top1 = figure.subplots(1, 2)
    _curve(loss, history, "loss", "Loss [nats]")
    _mark_best(loss, history, "val_loss", history["val_loss"].min(), "{:.3f}")
    _curve(top1, history, "top1", "Top-1 accuracy")
    _mark_best(top1, history, "val_top1", history["val_top1"].max(), "{:.1%}")
    top1.yaxis.set_major_formatter(PercentFormatter(1))
    if 0 < head_epochs < len(history):
        for panel in (loss, top1):
            panel.axvline(head_epochs + 0.5, color=GREY, linewidth=1, linestyle=":")
        loss.text(
            head_epochs + 0.5, 1, "body joins ", transform=loss.get_xaxis_transform(), ha="right", va="top", color=GREY
        )
    return figure


@rc_context(STYLE)
def confusion_matrix(labels: Labels, probabilities: Probabilities, classes: Sequence[str]) -> Figure:
    """Return the row-normalised confusion matrix, with breeds that are mistaken for each other side by side.

    labels: int [N]; probabilities: [N, C]; a class without photos is a grey row. ValueError: see `checked`.
    """
    labels, probabilities = checked(labels, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    counts = confusion_counts(labels, predicted, len(classes))
    photos = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, photos, out=np.full(counts.shape, np.nan), where=photos > 0)
    order = block_order(np.nan_to_num(shares))
    top1 = f"top-1 {np.mean(predicted == labels):.1%}" if len(labels) else "top-1 undefined"
    # 0.15 inch holds a 7 pt label; above 200 classes a picture of over 5000 px would cost too much memory.
    cell = 0.45 if len(classes) <= ANNOTATED_CLASSES else min(0.15, 30 / len(classes))
    side = max(cell * len(classes), 3) + 3
    title = f"Confusion of {len(classes)} breeds: {counted(len(labels), 'photo')}, {top1}"
    figure = new_figure(1.1 * side + 0.5, side, title)
    names = [short(breed_name(classes[index])) for index in order]
    _matrix(figure, shares[np.ix_(order, order)], names, fontsize=min(9, 0.65 * 72 * cell))
    return figure


@rc_context(STYLE)
def recall_bars(table: pd.DataFrame) -> Figure:
    """Return a bar a breed, sorted by recall, with the breed it is most often mistaken for at its right.

    table: as `metrics.per_breed` makes it. A breed without photos has no recall: it comes last, as "no
    photos", and the macro mean leaves it out.
    """
    table = table.assign(found=table["photos"] > 0)
    table = table.sort_values(["found", "recall", "breed"], ascending=[False, False, True])
    mean = table.loc[table["found"], "recall"].mean()
    panels = max(1, ceil(len(table) / BREEDS_A_PANEL))
    rows = max(1, ceil(len(table) / panels))
    macro = f"macro mean {mean:.1%}" if table["found"].any() else "no photos"
    title = f"Recall of {counted(len(table), 'breed')}, {macro}"
    figure = new_figure(8 * panels, 0.17 * rows + 1.6, title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel, panel_axes in enumerate(axes):
        _bars(panel_axes, table.iloc[panel * rows : (panel + 1) * rows], mean, rows)
    return figure


@rc_context(STYLE)
def class_histogram(table: pd.DataFrame) -> Figure:
    """Return a bar a breed of its photos, train, validation and test side by side, the largest breed on top.

    table: one row a breed, columns breed, train, validation, test (photos).
    """
    table = table.assign(photos=table[list(SPLIT_COLOURS)].sum(axis=1))
    table = table.sort_values(["photos", "breed"], ascending=[False, True])
    panels = max(1, ceil(len(table) / BREEDS_A_PANEL))
    rows = max(1, ceil(len(table) / panels))
    title = f"{counted(int(table['photos'].sum()), 'photo')} of {counted(len(table), 'breed')}"
    figure = new_figure(6 * panels, 0.17 * rows + 1.6, title)
    for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False, sharex=True)[0]):
        _stacked_bars(axes, table.iloc[panel * rows : (panel + 1) * rows], rows)
    return figure


@rc_context(STYLE)
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
    columns, rows = min(SHEET_COLUMNS, max(3, len(chosen))), max(1, ceil(len(chosen) / SHEET_COLUMNS))
    figure = new_figure(2.7 * columns, 3.1 * rows + 0.6, title)
    for place, index in enumerate(chosen, start=1):
        axes = figure.add_subplot(rows, columns, place)
        _photo(axes, images[index], int(labels[index]), probabilities[index], classes)
    return figure


def block_order(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return int [C], an order of classes where those confused with each other are neighbours.

    shares: [C, C] in 0-1, rows true, columns predicted. Average linkage on the symmetrised confusion, leaves
    ordered optimally (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).
    """
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def sample(labels: Labels, probabilities: Probabilities, count: int) -> npt.NDArray[np.int64]:
    """Return up to `count` indices: right ones evenly spread over the order given, then the worst errors."""
    hit = probabilities.argmax(axis=1) == labels
    right, wrong = np.flatnonzero(hit), np.flatnonzero(~hit)
    wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]
    wrong = wrong[: max(count // 2, count - len(right))]
    places = min(count - len(wrong), len(right))
    return np.concatenate([right[np.arange(places) * len(right) // max(places, 1)], wrong])


def _curve(axes: Axes, history: pd.DataFrame, metric: str, title: str) -> None:
    # A line through one epoch is invisible; dots show it, and would hide the lines of many epochs.
    dot = "o" if len(history) <= 30 else ""
    axes.plot(history["epoch"], history[metric], color=GREY, linestyle="--", marker=dot, label="training")
    axes.plot(history["epoch"], history[f"val_{metric}"], color=BLUE, lw=2, marker=dot, label="validation")
    axes.set_title(title, fontsize=14)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(history):
        axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    highest = history[[metric, f"val_{metric}"]].max().max()
    if 0 < highest < np.inf:  # not before the first epoch, nor where all diverged
        axes.set_ylim(0, 1.08 * highest)
    axes.grid()


def _mark_best(axes: Axes, history: pd.DataFrame, metric: str, best: float, form: str) -> None:
    found = history.loc[history[metric] == best, "epoch"]
    if len(found):
        label = f"best {form.format(best)} at epoch {found.iloc[0]}"
        axes.plot(found.iloc[0], best, color=VERMILLION, marker="*", markersize=16, linestyle="", label=label)
    # Below the panel: inside, it hid the only point of a training of one epoch.
    below = (0.5, -0.12)
    axes.legend(loc="upper center", bbox_to_anchor=below, ncols=3, fontsize=9, frameon=False)


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


def _bars(axes: Axes, table: pd.DataFrame, mean: float, rows: int) -> None:
    places = np.arange(len(table))
    axes.barh(places, table["recall"], color=np.where(table["recall"] < mean, VERMILLION, BLUE), height=0.7)
    axes.axvline(mean, color="black", linestyle="--", lw=1.2)
    axes.set_yticks(places, [short(breed) for breed in table["breed"]], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)  # the best on top; a short last panel keeps the bars' thickness
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("recall (dashed: macro mean)")
    axes.grid(axis="x")
    heading = "recall, most often mistaken for"
    axes.text(1.01, 1, heading, transform=axes.transAxes, va="bottom", fontsize=7)
    for place, row in enumerate(table.to_dict("records")):
        note = _recall_note(row)
        axes.text(1.01, place, note, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def _stacked_bars(axes: Axes, table: pd.DataFrame, rows: int) -> None:
    places, left = np.arange(len(table)), np.zeros(len(table))
    for split, colour in SPLIT_COLOURS.items():
        axes.barh(places, table[split], left=left, color=colour, height=0.7, label=split)
        left += table[split]
    for place, photos in enumerate(left):
        axes.text(photos, place, f" {photos:.0f}", va="center", fontsize=7)
    axes.set_yticks(places, [short(breed_name(breed)) for breed in table["breed"]], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlabel("photos")
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9, frameon=False)


def _recall_note(row: dict[Hashable, Any]) -> str:
    if not row["found"]:
        return "no photos"
    mistaken_for = f"  {short(row['most_confused_with'])} ×{row['confused']}" if row["confused"] else ""
    return f"{row['recall']:.0%}{mistaken_for}"


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
