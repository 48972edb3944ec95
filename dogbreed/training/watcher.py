"""How a training goes: progress for people, values for an observer, and an end when it left the numbers."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dogbreed.platform.errors import DataContradiction
from dogbreed.training.course import Course
from dogbreed.training.phase import Phase

WAITING = 0.1  # share of an epoch from which waiting for photos is worth a word

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Whoever wants to know how a training goes."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one epoch; `step` counts from 1."""

    def state(self) -> bytes:
        """Return all that was logged since step 0, for a checkpoint."""

    def restore(self, state: bytes) -> None:
        """Take back what `state` gave."""


class Clock:
    """Notes when a model gets its batches."""

    def __init__(self) -> None:
        self.given = 0.0  # when it got the last one, seconds since 1970

    def timed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the batches, each of which leaves its time when the model takes it."""

        def note() -> np.float64:  # tf.timestamp is refused with --deterministic
            self.given = time.time()
            return np.float64(self.given)

        def one(*batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            tf.numpy_function(note, [], tf.float64)
            return batch

        ahead = tf.data.Options()
        ahead.experimental_optimization.inject_prefetch = False  # it would take batches before the model does
        return batches.prefetch(1).map(one).with_options(ahead)


class Watcher:
    """Watches the epochs of all phases of one training."""

    def __init__(self, epochs: int, observer: Observer) -> None:
        self.observer, self.clock = observer, Clock()
        self._epochs = epochs
        self._bar: Any = None
        self._warned = False

    def begin_epoch(self, course: Course, steps: int) -> None:
        """Show the epoch's bar."""
        label = f"epoch {len(course.history) + 1}/{self._epochs}"
        shown = sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=course.batch, desc=label, unit="batch", leave=False, disable=not shown)

    def end_step(self, course: Course, values: Mapping[str, float], batches: int) -> None:
        """Note that the model has learned from `batches` more."""
        place = f"batch {course.batch + batches} of epoch {len(course.history) + 1}"
        self._require_numbers(values, place)  # before it counts: no checkpoint shall hold such a step
        course.batch += batches
        course.step += batches
        self._bar.update(batches)

    def _require_numbers(self, values: Mapping[str, float], where: str) -> None:
        wrong = [f"{key} is {value}" for key, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise DataContradiction(
                f"{', '.join(wrong)} in {where}; nothing is registered. "
                "Lower the rate, for example --set learning_rate=0.0005"
            )

    def end_epoch(self, course: Course, values: dict[str, float], phase: Phase) -> None:
        """Tell log, course and observer the epoch's values."""
        self._bar.close()
        number = len(course.history) + 1
        self._require_numbers(values, f"epoch {number}")
        values |= {"learning_rate": float(phase.learning.optimizer.learning_rate), "seconds": course.seconds}
        if phase.batch_size:
            values["photos_per_second"] = phase.steps * phase.batch_size / course.seconds
        if phase.batch_size and phase.learning.steps_per_execution == 1:  # else not each batch is seen
            values["input_wait"] = course.waited / course.seconds
            self._warn_of_waiting(values["input_wait"])
        course.end_epoch(values)
        log.info(
            "epoch %d of %d: loss %.3f, top1 %.1f %%, val_loss %.3f, val_top1 %.1f %%, %.0f s",
            number,
            self._epochs,
            values["loss"],
            100 * values["top1"],
            values["val_loss"],
            100 * values["val_top1"],
            values["seconds"],
        )
        self.observer.log(number, values)

    def _warn_of_waiting(self, share: float) -> None:
        if share > WAITING and not self._warned:
            self._warned = True
            log.warning(
                "the model waited for photos in %.0f %% of the epoch; use --cache decoded where memory allows, "
                "a dataset of the recipe's own size (jobs.preprocess --size), or more cores",
                100 * share,
            )
