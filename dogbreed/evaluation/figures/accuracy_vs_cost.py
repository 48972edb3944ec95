"""The figure of a leaderboard: accuracy against training cost."""

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from dogbreed.core.text import pluralize
from dogbreed.evaluation.figures.style import BLUE, GREY, STYLE, VERMILLION, new_figure, truncate

MAX_ROWS = 15  # more text beside the plot is unreadable


@rc_context(STYLE)
def accuracy_vs_cost(board: pd.DataFrame, split: str) -> Figure:
    """Return one point per model: training hours (logarithmic) and top-1 with its 95 % confidence interval.

    Points are numbered by rank and listed at the right; models of unknown cost are in the list only.

    Args:
        board: see `leaderboard.table`.
    """
    figure = new_figure(10, 5.4, f"{pluralize(len(board), 'model')} on {split}: accuracy and cost")
    axes, legend = figure.subplots(1, 2, width_ratios=(3, 2))
    shown = board.head(MAX_ROWS)
    for index, row in reversed(list(enumerate(shown.to_dict("records")))):  # the best is drawn last, on top
        if pd.notna(row["hours"]):
            _point(
                axes,
                index + 1,
                row["hours"],
                row["top1"],
                (row["top1_ci95_low"], row["top1_ci95_high"]),
                _colour(row["init_weights"]),
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda hours, _: f"{hours:g}"))
    axes.xaxis.set_minor_formatter("")
    axes.margins(0.12, 0.15)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    processors = "/".join(sorted(set(board["processor"].dropna()))) or "CPU"
    axes.set_xlabel(f"training, {processors} hours", fontsize=12)
    axes.set_ylabel(f"{split} top-1", fontsize=12)
    axes.grid()
    _list_models(legend, shown, len(board))
    return figure


def _colour(init_weights: object) -> str:
    return BLUE if init_weights == "none" else VERMILLION


def _point(
    axes: Axes, rank: int, hours: float, top1: float, interval: tuple[float | None, float | None], colour: str
) -> None:
    low, high = interval
    if low is not None and high is not None and low <= top1 <= high:
        axes.errorbar(hours, top1, [[top1 - low], [high - top1]], color=GREY, capsize=4, lw=1.5, zorder=1)
    axes.scatter(hours, top1, s=200, color=colour, edgecolor="white", zorder=2)
    axes.text(hours, top1, str(rank), color="white", ha="center", va="center", fontsize=9, weight="bold", zorder=3)


def _list_models(axes: Axes, shown: pd.DataFrame, num_models: int) -> None:
    axes.axis("off")
    for index, row in enumerate(shown.to_dict("records")):
        seed = "" if pd.isna(row["seed"]) else f", seed {row['seed']}"
        tta = f", TTA {row['tta']}" if row["tta"] != "none" else ""
        text = f"{index + 1}  {row['top1']:.1%}  {truncate(str(row['recipe']), 40)}{seed}{tta}"
        axes.text(0, 0.98 - index * 0.056, text, transform=axes.transAxes, va="top", fontsize=10)
    below = 0.98 - len(shown) * 0.056
    if num_models > len(shown):
        axes.text(0, below, f"and {num_models - len(shown)} more", transform=axes.transAxes, va="top", fontsize=10)
    for line, (colour, text) in enumerate(((BLUE, "from scratch"), (VERMILLION, "fine-tuned"))):
        axes.text(0, 0.06 - line * 0.06, f"● {text}", color=colour, transform=axes.transAxes, va="top", fontsize=10)
