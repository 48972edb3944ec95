"""Limits on the GPU memory that a job reserves: by default TensorFlow reserves nearly all memory of each visible GPU.

Both settings come before TensorFlow initializes its devices; where they are initialized already, as in a notebook,
they stay as they are.
"""

from contextlib import suppress

import tensorflow as tf


def enable_memory_growth() -> None:
    """Reserve memory as it is needed, so that other processes can use the same GPUs.

    Not for trainings: memory that grew in pieces is fragmented.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)


def use_first_gpu() -> None:
    """Use and reserve the first GPU only."""
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        with suppress(RuntimeError):
            tf.config.set_visible_devices(gpus[:1], "GPU")
