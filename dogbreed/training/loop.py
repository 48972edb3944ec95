"""The loop of a training over epochs and steps: from a state to the end of a phase, with checkpoints on the way."""

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from dogbreed.core import signals
from dogbreed.core.errors import ShutdownRequested
from dogbreed.training.checkpoint import Snapshot
from dogbreed.training.checkpointer import Checkpointer
from dogbreed.training.profiler import StepProfiler
from dogbreed.training.progress import Progress, count_input_wait, measure_rates, require_finite
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import (
    MONITOR,
    Phase,
    TrainState,
    copy_ema_weights,
    flatten,
    get_arrays,
    set_arrays,
    should_continue,
    unflatten,
)
from dogbreed.training.steps import Evaluator, MetricSums, make_train_step, means

log = logging.getLogger(__name__)


class TrainLoop:
    """Runs one phase of a training after another, and keeps the weights of the best epoch."""

    def __init__(
        self,
        progress: Progress,
        checkpointer: Checkpointer,
        usage: ResourceUsage,
        restored: Snapshot | None,
        profiler: StepProfiler | None = None,
    ) -> None:
        """restored: what to resume from, None for a new training. profiler: traces steps, None for no trace."""
        self.state = restored.state if restored else TrainState()
        self.best_weights = unflatten(restored.arrays, "best") if restored else []
        self.usage, self._progress, self._checkpointer, self._profiler = usage, progress, checkpointer, profiler
        self._epoch_start = 0.0  # on the monotonic clock, less what earlier processes spent on the epoch

    def run(self, phase: Phase, restored: Snapshot | None) -> None:
        """Train a phase to its end, and give its model the best weights.

        Args:
            restored: a checkpoint of this phase, None to begin it.

        Raises:
            DataError: a metric is not finite.
            ShutdownRequested: between two steps, after a signal; the last step is in a checkpoint.
        """
        log.info("%s", phase)
        self._prepare(phase, restored)
        if should_continue(self.state, phase):
            self._train(phase)
        _log_end(self.state, phase)
        self.save(phase)
        phase.full_model.set_weights(self.best_weights)

    def _prepare(self, phase: Phase, restored: Snapshot | None) -> None:
        """Build the phase's optimizer, and restore model and optimizer from a checkpoint of this phase."""
        with phase.distribution.scope():
            phase.model.optimizer.build(phase.model.trainable_variables)
            self._sums = MetricSums()
        self._sums.assign(self.state.metric_sums)
        if restored:
            set_arrays(restored.arrays, phase.full_model, phase.model.optimizer)

    def _train(self, phase: Phase) -> None:
        """Run the steps of a phase from the current state."""
        state, checkpointer, progress = self.state, self._checkpointer, self._progress
        iterator = phase.distribution.iterate(phase.make_batches(state.next_position(phase.steps)), phase.batch_size)
        start_step, full_step = self._make_train_steps(phase)
        evaluator = Evaluator(phase.ema_model or phase.model, phase.model, phase.distribution)
        steps_per_call, argument = phase.model.steps_per_execution, iterator.element_spec
        batches = count_input_wait(iterator, state)
        if steps_per_call > 1:  # the step takes its batches from the iterator itself
            batches, argument = itertools.repeat(iterator), iterator
        # all are traced here, where a signal can interrupt it, and not in the first step
        for step in (start_step, full_step):
            step.get_concrete_function(argument)
        evaluator.trace(phase.validation)
        trace = self._profiler.step if self._profiler and phase.kind == "full" else nullcontext
        checkpointer.start(state.global_step)
        with self._checkpoint_when_stopped(phase), signals.deferred():
            while should_continue(state, phase):
                self._epoch_start = time.monotonic() - state.epoch_seconds
                progress.start_epoch(state, phase)
                train_step = start_step if state.epoch < phase.start_epochs else full_step
                while state.epoch_step < phase.steps:
                    with trace(steps_per_call):
                        train_step(next(batches))  # metrics stay on the device
                    state.advance(steps_per_call)
                    progress.end_step(state, phase, self._sums)
                    checkpointer.check_lease()
                    signals.raise_if_requested()
                    if checkpointer.should_save(state.global_step):
                        self.save(phase)
                self._end_epoch(phase, evaluator)

    def _make_train_steps(self, phase: Phase) -> tuple[Any, Any]:
        """Return the step of the first epochs, which may have smaller images, and that of the later ones."""
        full_step = make_train_step(phase.model, self._sums, phase.distribution)
        if phase.start_model is None or self.state.epoch >= phase.start_epochs:
            return full_step, full_step
        return make_train_step(phase.start_model, self._sums, phase.distribution), full_step

    def save(self, phase: Phase) -> None:
        """Start to write a checkpoint of the current state; DataError if a metric is not finite."""
        state = self.state
        self._progress.flush(state, self._sums)
        state.metric_sums = self._sums.read()
        state.epoch_seconds = time.monotonic() - self._epoch_start if state.epoch_step else 0.0
        require_finite(means(state.metric_sums) if state.epoch_step else {}, f"epoch {len(state.history) + 1}")
        state.resource_usage = self.usage.read()
        arrays = get_arrays(phase.full_model, phase.model.optimizer) | flatten("best", self.best_weights)
        self._checkpointer.save(Snapshot(state.copy(), arrays, self._progress.logger.state()))

    @contextmanager
    def _checkpoint_when_stopped(self, phase: Phase) -> Iterator[None]:
        try:
            yield
        except ShutdownRequested:
            if self.state.global_step:
                self.save(phase)
            raise

    def _end_epoch(self, phase: Phase, evaluator: Evaluator) -> None:
        """Validate, keep the weights if they are the best so far, count the epoch and log it."""
        state = self.state
        self._progress.flush(state, self._sums)
        values = self._validate(phase, evaluator)
        if values[MONITOR] > state.best_metric:
            self.best_weights = (phase.ema_model or phase.full_model).get_weights()
        state.end_epoch(values | measure_rates(state, phase, time.monotonic() - self._epoch_start))
        self._progress.end_epoch(state)
        self._sums.assign({})

    def _validate(self, phase: Phase, evaluator: Evaluator) -> dict[str, float]:
        """Return the metrics of the epoch and, as `val_*`, of the validation images; DataError if one is not finite."""
        epoch, values = f"epoch {len(self.state.history) + 1}", means(self._sums.read())
        require_finite(values, epoch)
        if phase.ema_model:
            copy_ema_weights(phase.model, phase.ema_model)
        values |= {f"val_{name}": value for name, value in evaluator.evaluate(phase.validation).items()}
        require_finite(values, epoch)
        return values


def _log_end(state: TrainState, phase: Phase) -> None:
    """Log the best epoch of a phase, whose weights are kept, and why the phase ended early if it did."""
    best = len(state.history) - state.epochs_since_best
    early = f"stopped early, {MONITOR} was not better for {state.epochs_since_best} epochs; "
    log.info("%sbest weights: epoch %d, %s %.4f", early if state.epoch < phase.epochs else "", best, MONITOR,
             state.best_metric)  # fmt: skip
