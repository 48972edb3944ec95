"""The registry of models: name -> builder."""

from collections.abc import Callable

import keras

from dogbreed.platform.errors import UnknownName
from dogbreed.training.zoo import small

MODELS: dict[str, Callable[[int, int, float], keras.Model]] = {
    "simple": small.simple,
    "larger": small.larger,
    "cifar-resnet": small.cifar_resnet,
}


def build(name: str, size: int, classes: int, dropout: float) -> keras.Model:
    """Return an untrained model: uint8 [n, size, size, 3] in, float32 probabilities [n, classes] out."""
    if name not in MODELS:
        raise UnknownName(f"unknown model {name!r}; known are {', '.join(MODELS)}")
    return MODELS[name](size, classes, dropout)
