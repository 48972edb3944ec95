"""How large and how costly the models of the registry are, counted in their graphs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers
from rich.table import Table

from dogbreed.training.zoo import Entry
from dogbreed.training.zoo.ends import leaves

CONVOLVING = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


@dataclass(frozen=True)
class Cost:
    """What a model takes at the size that it was designed for."""

    entry: Entry
    parameters: int  # with the statistics of BatchNorm
    multiply_adds: int  # for one photo


def measure(entry: Entry, classes: int) -> Cost:
    """Build the model for photos of its own size and count; the model is forgotten, with all others of the process."""
    model = entry.build(entry.size, classes, dropout=0.0)
    cost = Cost(entry, model.count_params(), multiply_adds(model))
    keras.utils.clear_session()  # EfficientNet-B7 alone has 260 MB of weights
    return cost


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of all convolutions and dense layers for one photo, which papers call FLOPs.

    Each output position takes every number of its kernel once. Pooling, normalization, activations and biases,
    a few percent, are left out, as in the papers.
    """
    return sum(
        math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in leaves(model)
        if isinstance(layer, CONVOLVING)
    )


def table(costs: Sequence[Cost], classes: int) -> Table:
    """Return the models a line each, for a terminal."""
    shown = Table(title=f"Models with {classes} classes", box=None, pad_edge=False)
    shown.add_column("model")
    for column in ("photos, px", "features", "parameters", "multiply-adds"):
        shown.add_column(column, justify="right")
    shown.add_column("ImageNet weights")
    shown.add_column("source")
    for cost in costs:
        entry = cost.entry
        numbers = (entry.size, entry.width, f"{cost.parameters:,}", _millions(cost.multiply_adds))
        shown.add_row(entry.name, *map(str, numbers), "Keras" if entry.imagenet else "none", entry.source)
    return shown


def _millions(number: int) -> str:
    return f"{number / 1e6:,.0f} M" if number >= 1e7 else f"{number / 1e6:,.1f} M"


def summary(costs: Sequence[Cost]) -> dict[str, dict[str, int]]:
    """Return size in pixels, features, parameters and multiply-adds by the model's name."""
    return {
        cost.entry.name: {
            "size": cost.entry.size,
            "features": cost.entry.width,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
        }
        for cost in costs
    }
