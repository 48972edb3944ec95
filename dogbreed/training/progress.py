"""Progress bar and metric logging of a training, its rates, and the error for a loss that is not finite."""

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf
from tqdm import tqdm

from dogbreed.core.errors import DataError
from dogbreed.training.state import Phase, Sums, TrainState
from dogbreed.training.steps import MetricSums, means, subtract

WAITING = 0.1  # fraction of an epoch spent waiting for batches from which a warning is logged
SHOW_EVERY = 0.5  # seconds between two reads of the loss for the bar

log = logging.getLogger(__name__)


class TrainingStopped(Exception):
    """Raised by a MetricLogger to end the training; the message is the reason."""


class MetricLogger(Protocol):
    """Takes the metrics of a training."""

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log values: of an epoch, with its number from 1, or of steps (`step_*`), with the global step."""

    def state(self) -> bytes:
        """Return all that was logged since the first step, for a checkpoint."""

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave."""


class NullLogger:
    """Logs nothing: all workers have the same metrics, and the chief logs them."""

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Drop them."""

    def state(self) -> bytes:
        """Return nothing."""
        return b""

    def restore(self, state: bytes) -> None:
        """Drop it."""


def count_input_wait(batches: Iterator[Any], state: TrainState) -> Iterator[Any]:
    """Yield the batches and add the time that each took to come to the state, but for the first.

    The first one starts the pipeline, which is not a sign of an input that is too slow.
    """
    yield next(batches)
    while True:
        start = time.monotonic()
        batch = next(batches)
        state.input_wait_seconds += time.monotonic() - start
        yield batch


def require_finite(values: Mapping[str, float], where: str) -> None:
    """Raise DataError where a value is infinite or NaN."""
    wrong = [f"{key} is {value}" for key, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise DataError(
            f"{', '.join(wrong)} in {where}; nothing is registered. "
            "Lower the rate, for example --set learning_rate=0.0005, or compute with --precision mixed_bfloat16"
        )


def measure_rates(state: TrainState, phase: Phase, seconds: float) -> dict[str, float]:
    """Return learning rate, seconds and, of the whole model, throughput of an epoch that took `seconds`."""
    rates = {"learning_rate": float(phase.model.optimizer.learning_rate), "epoch_seconds": seconds}
    if phase.kind == "full":
        rates["images_per_second"] = phase.steps * phase.batch_size / seconds
        if phase.model.steps_per_execution == 1:  # otherwise batches are taken inside the graph
            rates["input_wait_fraction"] = state.input_wait_seconds / seconds
    return rates


@dataclass(frozen=True)
class _Pending:
    """Metrics of a step that are still on the device."""

    step: int  # global
    snapshot: tf.Tensor
    learning_rate: tf.Tensor
    is_log_point: bool


class Progress:
    """Shows and logs the epochs of all phases of one training."""

    def __init__(self, logger: MetricLogger, epochs: int, log_every: int = 0) -> None:
        """epochs: of all phases. log_every: steps between two log points of `step_*` metrics, 0 for none."""
        self.logger = logger
        self._epochs, self._log_every = epochs, log_every
        self._bar: Any = None
        self._shown = 0.0  # when the bar showed the loss, on the monotonic clock
        self._pending: _Pending | None = None
        self._warned = False

    def start_epoch(self, state: TrainState, phase: Phase) -> None:
        """Show the epoch's bar, where stderr is a terminal."""
        label, shown = f"epoch {len(state.history) + 1}/{self._epochs}", sys.stderr.isatty()
        self._bar = tqdm(
            total=phase.steps, initial=state.epoch_step, desc=label, unit="batch", leave=False, disable=not shown
        )

    def end_step(self, state: TrainState, phase: Phase, sums: MetricSums) -> None:
        """Move the bar. At a log point, and for the bar, metrics are read, but only once the next step runs."""
        self.flush(state, sums)
        steps = phase.model.steps_per_execution
        self._bar.update(steps)
        is_log_point = bool(self._log_every) and state.global_step % self._log_every < steps
        if is_log_point or (not self._bar.disable and time.monotonic() - self._shown > SHOW_EVERY):
            rate = phase.model.optimizer.learning_rate
            self._pending = _Pending(state.global_step, sums.snapshot(), rate, is_log_point)

    def flush(self, state: TrainState, sums: MetricSums) -> None:
        """Log and show what is pending of an earlier step."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        found = sums.read(pending.snapshot)
        if pending.is_log_point:
            self._log_step(state, pending, found)
        self._bar.set_postfix(loss=f"{means(found)['loss']:.3f}", refresh=False)
        self._shown = time.monotonic()

    def _log_step(self, state: TrainState, pending: "_Pending", found: Sums) -> None:
        """Log the means over the steps since the last log point, or since the epoch began if that was later."""
        values = {f"step_{name}": value for name, value in means(subtract(found, state.logged_sums)).items()}
        require_finite(values, f"step {pending.step}")
        values["step_learning_rate"] = float(pending.learning_rate)
        state.logged_sums = found
        self.logger.log_metrics(pending.step, values)

    def end_epoch(self, state: TrainState) -> None:
        """Log the epoch that the state has just counted."""
        self._bar.close()
        number, values = len(state.history), state.history[-1]
        log.info(
            "epoch %d of %d: loss %.3f, top1 %.1f %%, val_loss %.3f, val_top1 %.1f %%, %.0f s",
            number,
            self._epochs,
            values["loss"],
            100 * values["top1"],
            values["val_loss"],
            100 * values["val_top1"],
            values["epoch_seconds"],
        )
        self._warn_of_waiting(values.get("input_wait_fraction", 0.0))
        self.logger.log_metrics(number, {name: value for name, value in values.items() if name != "epoch"})

    def _warn_of_waiting(self, fraction: float) -> None:
        if fraction > WAITING and not self._warned:
            self._warned = True
            log.warning(
                "the model waited for images in %.0f %% of the epoch; use --cache memory or disk where there is room, "
                "a dataset of the recipe's own size (jobs.preprocess --size), or more cores",
                100 * fraction,
            )
