"""A trace of some steps of a training by TensorFlow's profiler, which TensorBoard's profile plugin or xprof shows."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

FIRST, LAST = 10, 20  # steps that are traced; those before fill buffers and, with XLA, compile

log = logging.getLogger(__name__)


class StepProfiler:
    """Traces steps FIRST to LAST of the whole model, counted from the start of this process."""

    def __init__(self, folder: Path) -> None:
        """folder: where the trace is written."""
        self.folder = folder
        self._steps = 0  # taken so far
        self._first = 0  # step with which the running trace began, 0 while none runs

    @contextmanager
    def step(self, steps: int) -> Iterator[None]:
        """Surround one call of the train step, which takes so many steps."""
        number = self._steps + 1
        self._steps += steps
        if number <= FIRST <= self._steps:
            tf.test.experimental.sync_devices()  # a device may still run earlier steps
            tf.profiler.experimental.start(str(self.folder))
            self._first = number
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):  # _r: TensorBoard's sign of a step
            yield
        if self._steps >= LAST:
            self._stop()

    def finish(self) -> None:
        """Write the trace of a training that has ended before step LAST; a warning if it has ended before FIRST."""
        self._stop()
        if self._steps < FIRST:
            log.warning("no trace: this process took %d steps of the whole model, %d are needed", self._steps, FIRST)

    def _stop(self) -> None:
        if self._first:
            tf.test.experimental.sync_devices()
            tf.profiler.experimental.stop()
            log.info("traced steps %d to %d", self._first, self._steps)
            self._first = 0
