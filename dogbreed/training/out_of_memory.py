"""The error for a batch that does not fit into the memory of a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported

# parts of the messages of XLA, which raises InternalError or UnknownError where memory is exhausted
MESSAGES = ("RESOURCE_EXHAUSTED", "Failed to allocate", "Out of memory", "CUDA_ERROR_OUT_OF_MEMORY")
TRAINING = "or let jobs.train --find-batch-size find the largest one"


@contextmanager
def translating_out_of_memory(batch_size: int, advice: str = TRAINING) -> Iterator[None]:
    """Raise EnvironmentUnsupported for an error of TensorFlow that means that the memory of a device is exhausted.

    advice: what to do besides halving the batch size.
    """
    try:
        yield
    except tf.errors.OpError as error:
        text = str(error)
        if not (isinstance(error, tf.errors.ResourceExhaustedError) or any(part in text for part in MESSAGES)):
            raise
        first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
        raise EnvironmentUnsupported(
            f"the memory of the device is too small for batches of {batch_size} images ({first}); use --batch-size "
            f"{max(1, batch_size // 2)}, {advice}"
        ) from error
