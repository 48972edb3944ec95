"""A model's whole state as arrays: what Keras saves, and the generators and metrics that it does not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from dogbreed.platform.errors import DataContradiction

Arrays = dict[str, np.ndarray]


def read(whole: keras.Model, learning: keras.Model) -> Arrays:
    """Return copies of the variables of the whole model, seed generators included, and of the optimizer.

    learning: the compiled model, `whole` or a part of it.
    """
    return _named("model", whole.variables) | _named("optimizer", learning.optimizer.variables)


def write(arrays: Arrays, whole: keras.Model, learning: keras.Model) -> None:
    """Put the arrays of `read` back; DataContradiction when they are those of another model."""
    for name, variables in (("model", whole.variables), ("optimizer", learning.optimizer.variables)):
        found = listed(arrays, name)
        if [array.shape for array in found] != [tuple(variable.shape) for variable in variables]:
            raise DataContradiction(
                "the checkpoint holds another model or optimizer, written by another version of this suite; "
                "begin anew with --fresh"
            )
        for variable, array in zip(variables, found, strict=True):
            variable.assign(array)


def named(name: str, arrays: Sequence[np.ndarray]) -> Arrays:
    """Return arrays as `name`/0, `name`/1 and so on."""
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def listed(arrays: Arrays, name: str) -> list[np.ndarray]:
    """Return the arrays that `named` gave that name, in order."""
    count = sum(key.startswith(f"{name}/") for key in arrays)
    return [arrays[f"{name}/{number}"] for number in range(count)]


def _named(name: str, variables: Sequence[Any]) -> Arrays:
    return named(name, [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables])


@contextmanager
def averaged(model: keras.Model, on: bool) -> Iterator[None]:
    """Show the optimizer's running means in place of the trainable weights.

    keras.callbacks.SwapEMAWeights swaps by adding and subtracting, which rounds: weights would depend on how often a
    training was validated.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of 16 bits' loss scaling
    variables = model.trainable_variables if on else []
    own = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    try:
        for variable, mean in zip(variables, optimizer._model_variables_moving_average if on else [], strict=True):
            variable.assign(mean)
        yield
    finally:
        for variable, array in zip(variables, own, strict=True):
            variable.assign(array)
