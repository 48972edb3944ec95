"""A part of a training: what learns, on what, and for how long."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf


@dataclass(frozen=True)
class Phase:
    """The head alone, or the whole model; every phase has a compiled model of its own."""

    learning: keras.Model  # compiled
    epochs: int
    steps: int  # batches an epoch
    patience: int  # epochs without a better val_top1 before the phase ends
    batches: Callable[[tuple[int, int]], tf.data.Dataset]  # from (epoch, batch) to the last epoch's end
    validation: tf.data.Dataset
    batch_size: int | None = None  # of the photos in a batch; None: it holds something else
    ema: bool = False  # the weights' running mean is validated and kept
