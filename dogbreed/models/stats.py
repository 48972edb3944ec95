"""Parameters and multiply-adds of a model, counted in its graph; stats_table.py has those of the registry."""

import math

import keras
from keras import layers

from dogbreed.models.common import leaf_layers
from dogbreed.models.registry import ModelSpec
from dogbreed.models.stats_table import ModelStats

CONVOLVING = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def measure(spec: ModelSpec, classes: int) -> ModelStats:
    """Build the model for images of its own size and count; all models of this process are deleted afterwards."""
    model = spec.build(spec.size, classes, dropout=0.0)
    stats = ModelStats(model.count_params(), macs(model))
    keras.utils.clear_session()  # EfficientNet-B7 alone has 260 MB of weights
    return stats


def macs(model: keras.Model) -> int:
    """Return the multiply-adds of all convolutions and dense layers for one image, which papers call FLOPs.

    Each output position uses every number of its kernel once. Pooling, normalization, activations and biases,
    a few percent, are left out, as in the papers.
    """
    return sum(
        math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in leaf_layers(model)
        if isinstance(layer, CONVOLVING)
    )
