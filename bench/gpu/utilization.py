"""How busy GPUs are, read from NVIDIA's driver every so often."""

import threading
import time
from statistics import mean

import pynvml

EVERY = 0.2  # seconds between two reads; the driver's own period is a sixth of a second to one second


class UtilizationSampler:
    """Reads the use of the busiest GPU on a thread, as a context manager; has no samples without a GPU."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []  # monotonic time, fraction
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="utilization")

    def __enter__(self) -> "UtilizationSampler":
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read no more."""
        self._ended.set()
        self._thread.join()

    def mean(self, start: float, end: float) -> float | None:
        """Return the mean fraction of the time in which a kernel ran, between two monotonic times; None if unknown."""
        found = [value for moment, value in self._samples if start <= moment <= end]
        return mean(found) if found else None

    def _run(self) -> None:
        try:
            pynvml.nvmlInit()
            handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
            while not self._ended.wait(EVERY):
                use = max(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles)
                self._samples.append((time.monotonic(), use / 100))
        except pynvml.NVMLError:  # no driver, or a part of a GPU (MIG), whose use is not known
            return
