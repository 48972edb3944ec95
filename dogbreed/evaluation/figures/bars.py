"""Bar charts: one bar per class, or per group of images."""

from collections.abc import Hashable
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dogbreed.core.text import pluralize
from dogbreed.data.class_names import breed_name
from dogbreed.evaluation.figures.style import (
    BLUE,
    GREY,
    STYLE,
    VERMILLION,
    count_classes,
    new_figure,
    truncate,
)

SPLIT_COLOURS = {"train": BLUE, "validation": GREY, "test": VERMILLION}
CLASSES_PER_PANEL = 60


@rc_context(STYLE)
def recall_bars(table: pd.DataFrame) -> Figure:
    """Return one bar per class, sorted by recall, with the class it is most often mistaken for at its right.

    A class without images has no recall: it comes last, and the title counts it.

    Args:
        table: see `metrics.per_class`.
    """
    table = table.sort_values(["recall", "class"], ascending=[False, True], na_position="last")
    mean = table["recall"].mean()
    empty = int((table["images"] == 0).sum())
    panels = max(1, ceil(len(table) / CLASSES_PER_PANEL))
    rows = max(1, ceil(len(table) / panels))
    macro = f"macro mean {mean:.1%}" if empty < len(table) else "no images"
    title = f"Recall of {count_classes(len(table), empty)}, {macro}"
    figure = new_figure(8 * panels, 0.17 * rows + 1.6, title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel, panel_axes in enumerate(axes):
        _bars(panel_axes, table.iloc[panel * rows : (panel + 1) * rows], mean, rows)
    return figure


@rc_context(STYLE)
def class_histogram(table: pd.DataFrame) -> Figure:
    """Return one bar per class of its images, train, validation and test stacked, the largest class on top.

    Args:
        table: one row per class, columns class, train, validation, test (images).
    """
    table = table.assign(images=table[list(SPLIT_COLOURS)].sum(axis=1))
    table = table.sort_values(["images", "class"], ascending=[False, True])
    panels = max(1, ceil(len(table) / CLASSES_PER_PANEL))
    rows = max(1, ceil(len(table) / panels))
    title = f"{pluralize(int(table['images'].sum()), 'image')} of {pluralize(len(table), 'class')}"
    figure = new_figure(6 * panels, 0.17 * rows + 1.6, title)
    for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False, sharex=True)[0]):
        _stacked_bars(axes, table.iloc[panel * rows : (panel + 1) * rows], rows)
    return figure


@rc_context(STYLE)
def box_bars(table: pd.DataFrame, top1: float) -> Figure:
    """Return one bar per group of bounding boxes of similar size, with its 95 % confidence interval.

    Args:
        table: see `predictions.accuracy_by_box_size`; one panel per measure.
        top1: of all images, 0-1, the dashed line.
    """
    measures = list(dict.fromkeys(table["measure"]))
    figure = new_figure(11, 4.6, "Top-1 accuracy by size of the bounding box")
    for axes, measure in zip(figure.subplots(1, len(measures), sharey=True), measures, strict=True):
        group = table[table["measure"] == measure]
        positions = np.arange(len(group))
        errors = [group["top1"] - group["ci95_low"], group["ci95_high"] - group["top1"]]
        axes.bar(positions, group["top1"], color=BLUE, width=0.7, yerr=errors, capsize=4)
        axes.axhline(top1, color="black", linestyle="--", lw=1.2)
        names = [
            f"{name}\n{pluralize(images, 'image')}"
            for name, images in zip(group["group"], group["images"], strict=True)
        ]
        axes.set_xticks(positions, names, fontsize=8)
        axes.set_title(f"{measure} (dashed: all images)", fontsize=12)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y")
    return figure


def _bars(axes: Axes, table: pd.DataFrame, mean: float, rows: int) -> None:
    positions = np.arange(len(table))
    axes.barh(positions, table["recall"], color=np.where(table["recall"] < mean, VERMILLION, BLUE), height=0.7)
    axes.axvline(mean, color="black", linestyle="--", lw=1.2)
    axes.plot(table["precision"], positions, "D", color="black", markersize=3, markerfacecolor="white", clip_on=False)
    axes.set_yticks(positions, [truncate(name) for name in table["class"]], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)  # the best on top; bars of a short last panel are as thick as the others
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("bar: recall (dashed: macro mean), diamond: precision")
    axes.grid(axis="x")
    heading = "recall, most often mistaken for"
    axes.text(1.01, 1, heading, transform=axes.transAxes, va="bottom", fontsize=7)
    for position, row in enumerate(table.to_dict("records")):
        note = _recall_note(row)
        axes.text(1.01, position, note, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def _stacked_bars(axes: Axes, table: pd.DataFrame, rows: int) -> None:
    positions, left = np.arange(len(table)), np.zeros(len(table))
    for split, colour in SPLIT_COLOURS.items():
        axes.barh(positions, table[split], left=left, color=colour, height=0.7, label=split)
        left += table[split]
    for position, images in enumerate(left):
        axes.text(images, position, f" {images:.0f}", va="center", fontsize=7)
    axes.set_yticks(positions, [truncate(breed_name(name)) for name in table["class"]], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlabel("images")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9, frameon=False)


def _recall_note(row: dict[Hashable, Any]) -> str:
    if not row["images"]:
        return "no images"
    mistaken_for = f"  {truncate(row['most_confused_with'])} ×{row['confused']}" if row["confused"] else ""
    return f"{row['recall']:.0%}{mistaken_for}"
