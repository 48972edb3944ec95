"""What a training costs, in hours and in memory."""

import resource
import time
from collections.abc import Mapping

import tensorflow as tf


class Meter:
    """Counts from when it is made: several trainings of one process each have their own."""

    def __init__(self, before: Mapping[str, float]) -> None:
        """before: what `read` gave in an earlier process of the same training, {} for the first."""
        self._before = before
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
        return {name: self._with_before(name, value) for name, value in cost.items()}

    def _with_before(self, name: str, value: float) -> float:
        before = self._before.get(name, 0.0)
        return max(value, before) if name.endswith("peak_mb") or name.startswith("peak") else value + before


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
