"""What a training has cost, in hours and in memory."""

import resource
from collections.abc import Sequence

import tensorflow as tf


def spent(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return cpu_hours and peak_rss_mb of this process and, where GPUs are, their gpu_hours and peak memory in MB.

    history: the epochs of one training, each with its seconds.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "cpu_hours": (usage.ru_utime + usage.ru_stime) / 3600,
        "peak_rss_mb": usage.ru_maxrss / 1024,
        "train_seconds": sum(epoch["seconds"] for epoch in history),
    }
    for number, _ in enumerate(gpus := tf.config.list_physical_devices("GPU")):
        cost[f"gpu_{number}_peak_mb"] = tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"] / 2**20
    if gpus:
        cost["gpu_hours"] = len(gpus) * cost["train_seconds"] / 3600
    return cost
