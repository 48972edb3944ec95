"""Figures of a hyperparameter search: progress, importances, slices."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from dogbreed.core.text import pluralize
from dogbreed.evaluation.figures.style import BLUE, GREY, STYLE, VERMILLION, new_figure, truncate

# columns of a table of trials, before one for each field; numbers of trials count from 1
STANDARD = ("trial", "repeats", "seed", "state", "val_top1", "hours", "trained_epochs", "reason")
COLUMNS = 3  # slices side by side


@rc_context(STYLE)
def search_progress(table: pd.DataFrame) -> Figure:
    """Return the scores of the trials and the best so far, over trials and over hours of computing.

    Args:
        table: a row a trial; trial, state, val_top1 (a fraction, or None), hours.
    """
    complete = table[table["state"] == "COMPLETE"]
    pruned = int((table["state"] == "PRUNED").sum())
    figure = new_figure(10, 4.8, f"{pluralize(len(complete), 'complete trial')}, {pruned:,} pruned")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_progress(left, complete["trial"], complete["val_top1"].astype(float), "trial")
    left.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    hours = table["hours"].cumsum()[complete.index]
    _draw_progress(right, hours, complete["val_top1"].astype(float), "core- or GPU-hours of all trials until then")
    left.set_ylabel("validation top-1")
    left.yaxis.set_major_formatter(PercentFormatter(1))
    left.legend(loc="lower right", frameon=False)
    return figure


def _draw_progress(axes: Axes, place: "pd.Series[float]", score: "pd.Series[float]", label: str) -> None:
    axes.scatter(place, score, s=28, color=BLUE, label="trial")
    axes.step(place, score.cummax(), where="post", color=VERMILLION, lw=2, label="best so far")
    axes.set_xlabel(label)
    axes.grid()


@rc_context(STYLE)
def parameter_importances(importances: Mapping[str, float]) -> Figure:
    """Return bars: the fraction of the scores' variance that each field explains, the largest on top."""
    ordered = sorted(importances.items(), key=lambda item: item[1])
    figure = new_figure(8, 1.4 + 0.42 * len(ordered), "Importance of the fields")
    axes = figure.subplots()
    bars = axes.barh([truncate(field) for field, _ in ordered], [value for _, value in ordered], color=BLUE)
    axes.bar_label(bars, fmt="{:.0%}", padding=3)
    axes.set_xlabel("fraction of the variance of validation top-1")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.margins(x=0.12)
    return figure


@rc_context(STYLE)
def parameter_slices(table: pd.DataFrame, fields: Mapping[str, bool]) -> Figure:
    """Return a panel for each field: its values and the scores of the complete trials, later ones darker.

    Args:
        table: a row a trial; trial, state, val_top1, and a column for each field.
        fields: that were searched, at least one, and whether their axis is logarithmic.
    """
    complete = table[table["state"] == "COMPLETE"]
    rows = math.ceil(len(fields) / COLUMNS)
    columns = min(COLUMNS, len(fields))
    figure = new_figure(
        4 * columns, 0.8 + 3.2 * rows, "Values and scores of complete trials (later ones darker, star: best)"
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel, field in zip(panels.flat, fields, strict=False):
        _draw_slice(panel, complete, field)
        if fields[field]:
            _set_log_scale(panel)
    for panel in panels.flat[len(fields) :]:
        panel.axis("off")
    for first in panels[:, 0]:
        first.set_ylabel("validation top-1")
        first.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _set_log_scale(panel: Axes) -> None:
    """Make an axis logarithmic with ticks like 0.003; Matplotlib's own are formulas, which the style does not parse."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _draw_slice(panel: Axes, complete: pd.DataFrame, field: str) -> None:
    values, scores = complete[field], complete["val_top1"].astype(float)
    if len(complete) and isinstance(values.iloc[0], str):
        values = values.astype(str)
    panel.scatter(
        values, scores, c=complete["trial"], cmap="Blues", vmin=-len(complete), edgecolors=GREY, linewidths=0.5
    )
    if len(complete):
        best = int(scores.to_numpy().argmax())
        panel.scatter(values.iloc[best], scores.iloc[best], marker="*", s=180, color=VERMILLION)
    panel.set_xlabel(field)
    panel.grid()
