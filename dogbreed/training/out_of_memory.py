"""The error for a batch that does not fit into the memory of a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported

# parts of the messages of XLA, which raises InternalError or UnknownError where memory is exhausted
MESSAGES = ("RESOURCE_EXHAUSTED", "Failed to allocate", "Out of memory", "CUDA_ERROR_OUT_OF_MEMORY")


@contextmanager
def translating_out_of_memory(batch_size: int, advice: str) -> Iterator[None]:
    """Raise EnvironmentUnsupported with this advice for an error of TensorFlow that means that memory is exhausted."""
    try:
        yield
    except tf.errors.OpError as error:
        text = str(error)
        if not (isinstance(error, tf.errors.ResourceExhaustedError) or any(part in text for part in MESSAGES)):
            raise
        first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
        raise EnvironmentUnsupported(
            f"the memory of the device is too small for batches of {batch_size} images ({first}); {advice}"
        ) from error


def smaller_batch(batch_size: int, unit: int = 1) -> str:
    """Return the advice to use half the batch size, in whole multiples of `unit` images."""
    return f"use --batch-size {max(1, batch_size // 2 // unit) * unit}"


def smaller_training_batch(batch_size: int, unit: int) -> str:
    """Return the advice for a training whose batches must be multiples of `unit` images."""
    return f"{smaller_batch(batch_size, unit)}, or let jobs.train --find-batch-size find the largest one"
