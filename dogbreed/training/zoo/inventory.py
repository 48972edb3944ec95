"""How large and how costly models are, counted in their graphs; see costs.py for those of the registry."""

import math

import keras
from keras import layers

from dogbreed.training.zoo import Entry
from dogbreed.training.zoo.costs import Cost
from dogbreed.training.zoo.ends import leaves

CONVOLVING = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def measure(entry: Entry, classes: int) -> Cost:
    """Build the model for photos of its own size and count; the model is forgotten, with all others of the process."""
    model = entry.build(entry.size, classes, dropout=0.0)
    cost = Cost(model.count_params(), multiply_adds(model))
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
