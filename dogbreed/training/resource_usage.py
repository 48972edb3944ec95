"""What a training uses: time, processor and GPU hours, peaks of memory."""

import resource
import time
from collections.abc import Mapping, Sequence

import tensorflow as tf

from dogbreed.core import resources


class ResourceUsage:
    """Counts from when it is made: several trainings of one process each have their own."""

    def __init__(self, before: Mapping[str, float], gpus: Sequence[str] = (), workers: int = 1) -> None:
        """Start to count.

        Args:
            before: what `read` gave in an earlier process of the same training, {} for the first.
            gpus: that this process trains on, for example GPU:0.
            workers: processes of the training, with as many GPUs each.
        """
        self._before = dict(before)
        self._start, self._cpu_start = time.monotonic(), _cpu_seconds()
        self._gpus, self._workers = list(gpus), workers
        for gpu in self._gpus:
            tf.config.experimental.reset_memory_stats(gpu)

    def read(self) -> dict[str, float]:
        """Return totals and peaks over all processes of the training so far."""
        totals = {name: self._before.get(name, 0.0) + value for name, value in self._totals().items()}
        peaks = {name: max(self._before.get(name, 0.0), value) for name, value in self._peaks().items()}
        return self._before | totals | peaks

    def _totals(self) -> dict[str, float]:
        """Return what adds up over processes: train_seconds, cpu_hours and, for all workers together, gpu_hours."""
        seconds = time.monotonic() - self._start
        totals = {"train_seconds": seconds, "cpu_hours": (_cpu_seconds() - self._cpu_start) / 3600}
        if self._gpus:
            totals["gpu_hours"] = len(self._gpus) * self._workers * seconds / 3600
        return totals

    def _peaks(self) -> dict[str, float]:
        """Return what is the largest of any process, in MiB: peak_rss_mb and gpu_<number>_peak_mb.

        peak_rss_mb is the peak of the process so far, with what it did before the training.
        """
        peaks = {"peak_rss_mb": resources.peak_memory() / 2**20}
        for number, gpu in enumerate(self._gpus):
            peaks[f"gpu_{number}_peak_mb"] = tf.config.experimental.get_memory_info(gpu)["peak"] / 2**20
        return peaks


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
