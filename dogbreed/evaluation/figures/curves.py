"""Learning curves: loss and accuracy by epoch."""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dogbreed.core.text import pluralize
from dogbreed.evaluation.figures.style import BLUE, GREY, STYLE, VERMILLION, new_figure


@rc_context(STYLE)
def learning_curves(history: pd.DataFrame, head_epochs: int = 0) -> Figure:
    """Return loss and top-1 accuracy by epoch, training and validation; each panel marks its own best epoch.

    Args:
        history: one row per epoch, columns epoch, loss, val_loss (nats), top1, val_top1 (fractions 0-1).
        head_epochs: number of epochs in which only the head was trained; a line marks their end.
    """
    figure = new_figure(10, 4.8, f"Learning curves, {pluralize(len(history), 'epoch')}")
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
            head_epochs + 0.5, 1, "head only ", transform=loss.get_xaxis_transform(), ha="right", va="top", color=GREY
        )
    return figure


def _curve(axes: Axes, history: pd.DataFrame, metric: str, title: str) -> None:
    # a line through one epoch is invisible; dots would hide the lines of many epochs
    dot = "o" if len(history) <= 30 else ""
    axes.plot(history["epoch"], history[metric], color=GREY, linestyle="--", marker=dot, label="training")
    axes.plot(history["epoch"], history[f"val_{metric}"], color=BLUE, lw=2, marker=dot, label="validation")
    axes.set_title(title, fontsize=14)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(history):
        axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    highest = history[[metric, f"val_{metric}"]].max().max()
    if 0 < highest < np.inf:  # neither before the first epoch nor if all diverged
        axes.set_ylim(0, 1.08 * highest)
    axes.grid()


def _mark_best(axes: Axes, history: pd.DataFrame, metric: str, best: float, form: str) -> None:
    found = history.loc[history[metric] == best, "epoch"]
    if len(found):
        label = f"best {form.format(best)} at epoch {found.iloc[0]}"
        axes.plot(found.iloc[0], best, color=VERMILLION, marker="*", markersize=16, linestyle="", label=label)
    # below the panel: inside, it hid the only point of a training of one epoch
    below = (0.5, -0.12)
    axes.legend(loc="upper center", bbox_to_anchor=below, ncols=3, fontsize=9, frameon=False)
