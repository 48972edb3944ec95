"""Bars: a breed each, or a group of photos each."""

from collections.abc import Hashable
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dogbreed.evaluation.figures.style import BLUE, GREY, STYLE, VERMILLION, new_figure, pluralize, truncate
from dogbreed.evaluation.metrics import breed_name

SPLIT_COLOURS = {"train": BLUE, "validation": GREY, "test": VERMILLION}
BREEDS_A_PANEL = 60


@rc_context(STYLE)
def recall_bars(table: pd.DataFrame) -> Figure:
    """Return a bar a breed, sorted by recall, with the breed it is most often mistaken for at its right.

    table: as `metrics.per_class` makes it. A breed without photos has no recall: it comes last, as "no
    photos", and the macro mean leaves it out.
    """
    table = table.assign(found=table["photos"] > 0)
    table = table.sort_values(["found", "recall", "breed"], ascending=[False, False, True])
    mean = table.loc[table["found"], "recall"].mean()
    panels = max(1, ceil(len(table) / BREEDS_A_PANEL))
    rows = max(1, ceil(len(table) / panels))
    macro = f"macro mean {mean:.1%}" if table["found"].any() else "no photos"
    title = f"Recall of {pluralize(len(table), 'breed')}, {macro}"
    figure = new_figure(8 * panels, 0.17 * rows + 1.6, title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel, panel_axes in enumerate(axes):
        _bars(panel_axes, table.iloc[panel * rows : (panel + 1) * rows], mean, rows)
    return figure


@rc_context(STYLE)
def class_histogram(table: pd.DataFrame) -> Figure:
    """Return a bar a breed of its photos, train, validation and test side by side, the largest breed on top.

    table: one row a breed, columns class, train, validation, test (images).
    """
    table = table.assign(images=table[list(SPLIT_COLOURS)].sum(axis=1))
    table = table.sort_values(["images", "class"], ascending=[False, True])
    panels = max(1, ceil(len(table) / BREEDS_A_PANEL))
    rows = max(1, ceil(len(table) / panels))
    title = f"{pluralize(int(table['images'].sum()), 'photo')} of {pluralize(len(table), 'breed')}"
    figure = new_figure(6 * panels, 0.17 * rows + 1.6, title)
    for panel, axes in enumerate(figure.subplots(1, panels, squeeze=False, sharex=True)[0]):
        _stacked_bars(axes, table.iloc[panel * rows : (panel + 1) * rows], rows)
    return figure


@rc_context(STYLE)
def box_bars(table: pd.DataFrame, top1: float) -> Figure:
    """Return a bar a group of photos by the size of the dog's box, with its 95 % interval; a panel a measure.

    table: as `predictions.accuracy_by_box_size` makes it; top1: of all photos, 0-1, the dashed line.
    """
    measures = list(dict.fromkeys(table["measure"]))
    figure = new_figure(11, 4.6, "Top-1 accuracy by how large the dog is")
    for axes, measure in zip(figure.subplots(1, len(measures), sharey=True), measures, strict=True):
        group = table[table["measure"] == measure]
        places = np.arange(len(group))
        spread = [group["top1"] - group["ci95_low"], group["ci95_high"] - group["top1"]]
        axes.bar(places, group["top1"], color=BLUE, width=0.7, yerr=spread, capsize=4)
        axes.axhline(top1, color="black", linestyle="--", lw=1.2)
        names = [
            f"{name}\n{pluralize(photos, 'photo')}"
            for name, photos in zip(group["group"], group["images"], strict=True)
        ]
        axes.set_xticks(places, names, fontsize=8)
        axes.set_title(f"{measure} (dashed: all photos)", fontsize=12)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y")
    return figure


def _bars(axes: Axes, table: pd.DataFrame, mean: float, rows: int) -> None:
    places = np.arange(len(table))
    axes.barh(places, table["recall"], color=np.where(table["recall"] < mean, VERMILLION, BLUE), height=0.7)
    axes.axvline(mean, color="black", linestyle="--", lw=1.2)
    axes.plot(table["precision"], places, "D", color="black", markersize=3, markerfacecolor="white")
    axes.set_yticks(places, [truncate(breed) for breed in table["breed"]], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)  # the best on top; a short last panel keeps the bars' thickness
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("bar: recall (dashed: macro mean), diamond: precision")
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
    axes.set_yticks(places, [truncate(breed_name(name)) for name in table["class"]], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlabel("photos")
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9, frameon=False)


def _recall_note(row: dict[Hashable, Any]) -> str:
    if not row["found"]:
        return "no photos"
    mistaken_for = f"  {truncate(row['most_confused_with'])} ×{row['confused']}" if row["confused"] else ""
    return f"{row['recall']:.0%}{mistaken_for}"
