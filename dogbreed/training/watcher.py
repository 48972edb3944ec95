"""How a training goes: progress for people, values for an observer, and an end when it left the numbers."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dogbreed.platform.errors import DataContradiction

WAITING = 0.1  # share of an epoch from which waiting for photos is worth a word

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Whoever wants to know how a training goes."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one epoch; `step` counts from 1."""


class Watcher(keras.callbacks.Callback):
    """Watches the epochs of all phases of one training; `history` has an entry for each."""

    def __init__(self, epochs: int, observer: Observer) -> None:
        super().__init__()
        self.history: list[dict[str, float]] = []
        self.batch_size: int | None = None  # of the photos in a batch; None: it holds something else
        self._epochs, self._observer = epochs, observer
        self._bar: Any = None
        self._warned = False
        self._given = 0.0  # when the model got its last batch

    def timed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the batches, each of which leaves its time when the model takes it."""

        def note() -> np.float64:  # tf.timestamp is refused with --deterministic
            self._given = time.time()
            return np.float64(self._given)

        def one(*batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            tf.numpy_function(note, [], tf.float64)
            return batch

        ahead = tf.data.Options()
        ahead.experimental_optimization.inject_prefetch = False  # it would take batches before the model does
        return batches.prefetch(1).map(one).with_options(ahead)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the epoch's clock and bar."""
        self._began, self._waited = time.monotonic(), 0.0
        label = f"epoch {len(self.history) + 1}/{self._epochs}"
        steps = self.params["steps"]
        self._bar = tqdm(total=steps, desc=label, unit="batch", leave=False, disable=not sys.stderr.isatty())

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Note when the model asked for a batch."""
        self._asked = time.time()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Move the bar."""
        self._bar.update(batch + 1 - self._bar.n)  # several at a time with steps_per_execution
        self._waited += max(0.0, self._given - self._asked)
        self._require_numbers(logs or {}, f"batch {batch + 1} of epoch {len(self.history) + 1}")

    def _require_numbers(self, values: dict[str, float], where: str) -> None:
        wrong = [f"{key} is {value}" for key, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise DataContradiction(
                f"{', '.join(wrong)} in {where}; nothing is registered. "
                "Lower the rate, for example --set learning_rate=0.0005"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Tell log, history and observer the epoch's values."""
        self._bar.close()
        number = len(self.history) + 1
        values = {key: float(value) for key, value in (logs or {}).items()}
        self._require_numbers(values, f"epoch {number}")
        values |= {
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": time.monotonic() - self._began,
        }
        if self.batch_size:
            values["photos_per_second"] = self.params["steps"] * self.batch_size / values["seconds"]
        if self.batch_size and self.model.steps_per_execution == 1:  # else Python does not see each batch asked for
            values["input_wait"] = self._waited / values["seconds"]
            self._warn_of_waiting(values["input_wait"])
        self.history.append({"epoch": number, **values})
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
        self._observer.log(number, values)

    def _warn_of_waiting(self, share: float) -> None:
        if share > WAITING and not self._warned:
            self._warned = True
            log.warning(
                "the model waited for photos in %.0f %% of the epoch; use --cache decoded where memory allows, "
                "a dataset of the recipe's own size (jobs.preprocess --size), or more cores",
                100 * share,
            )
