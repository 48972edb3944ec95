"""Reliability diagram: accuracy against confidence."""

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dogbreed.evaluation.calibration import BINS, expected_calibration_error
from dogbreed.evaluation.figures.style import BLUE, GREY, STYLE, VERMILLION, new_figure


@rc_context(STYLE)
def reliability_diagram(table: pd.DataFrame) -> Figure:
    """Return accuracy by confidence with the gap to the diagonal, above the number of images in each bin.

    Args:
        table: see `calibration.reliability_table`.
    """
    figure = new_figure(
        6.4, 7.2, f"Calibration error (ECE) {expected_calibration_error(table):.1%}, {_tendency(table)}"
    )
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    found = table[table["images"] > 0]
    _accuracy(above, found)
    below.bar(table["low"], table["images"], 1 / BINS, align="edge", color=GREY, edgecolor="white")
    below.set_ylabel("images", fontsize=12)
    below.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    below.set_xlabel("confidence (probability of the predicted class)", fontsize=12)
    below.xaxis.set_major_formatter(PercentFormatter(1))
    below.set_xlim(0, 1)
    return figure


def _tendency(table: pd.DataFrame) -> str:
    images = table["images"].sum()
    confidence, accuracy = ((table[name] * table["images"]).sum() / images for name in ("confidence", "accuracy"))
    tendency = "overconfident" if confidence > accuracy else "underconfident"
    return f"{tendency} by {100 * abs(confidence - accuracy):.1f} points"


def _accuracy(axes: Axes, found: pd.DataFrame) -> None:
    width, middle = 1 / BINS, found["low"] + 0.5 / BINS
    axes.bar(middle, found["accuracy"], width, color=BLUE, edgecolor="white", label="accuracy")
    gap = found["confidence"] - found["accuracy"]
    axes.bar(
        middle,
        gap,
        width * 0.4,
        bottom=found["accuracy"],
        color=VERMILLION,
        label="gap to confidence",
    )
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1.2, label="perfectly calibrated")
    axes.set_ylabel("accuracy", fontsize=12)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(0, 1)
    axes.grid(axis="y")
    axes.legend(loc="upper left", fontsize=11, frameon=False)
