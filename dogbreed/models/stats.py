"""How large and how costly models are, counted in their graphs; see costs.py for those of the registry."""

import math

import keras
from keras import layers

from dogbreed.models.common import leaf_layers
from dogbreed.models.registry import ModelSpec
from dogbreed.models.registry.costs import Cost

CONVOLVING = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def measure(spec: ModelSpec, classes: int) -> Cost:
    """Build the model for photos of its own size and count; the model is forgotten, with all others of the process."""
    model = spec.build(spec.size, classes, dropout=0.0)
    cost = Cost(model.count_params(), macs(model))
    keras.utils.clear_session()  # EfficientNet-B7 alone has 260 MB of weights
    return cost


def macs(model: keras.Model) -> int:
    """Return the multiply-adds of all convolutions and dense layers for one photo, which papers call FLOPs.

    Each output position takes every number of its kernel once. Pooling, normalization, activations and biases,
    a few percent, are left out, as in the papers.
    """
    return sum(
        math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in leaf_layers(model)
        if isinstance(layer, CONVOLVING)
    )
