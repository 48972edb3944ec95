"""What a training costs, in hours and in memory."""

import resource
import time

import tensorflow as tf


class Meter:
    """Counts from when it is made: several trainings of one process each have their own."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), _cpu_seconds()
        self._gpus = [f"GPU:{number}" for number, _ in enumerate(tf.config.list_physical_devices("GPU"))]
        for gpu in self._gpus:
            tf.config.experimental.reset_memory_stats(gpu)

    def read(self) -> dict[str, float]:
        """Return train_seconds, cpu_hours and, where GPUs are, gpu_hours and the peak of each one's memory in MB.

        peak_rss_mb is the peak of the process so far, with what it did before.
        """
        seconds = time.monotonic() - self._began
        cost = {
            "train_seconds": seconds,
            "cpu_hours": (_cpu_seconds() - self._cpu) / 3600,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        for number, gpu in enumerate(self._gpus):
            cost[f"gpu_{number}_peak_mb"] = tf.config.experimental.get_memory_info(gpu)["peak"] / 2**20
        if self._gpus:
            cost["gpu_hours"] = len(self._gpus) * seconds / 3600
        return cost


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
