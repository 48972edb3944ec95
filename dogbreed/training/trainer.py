"""Training from a recipe to the best weights: the loop over phases, epochs and steps."""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from dogbreed.core import signals
from dogbreed.core.errors import DataError, ShutdownRequested, UsageError
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.data.splits import TRAIN, VALIDATION
from dogbreed.models import weights
from dogbreed.training import memory_estimate
from dogbreed.training.build import build_model
from dogbreed.training.checkpoint import Snapshot
from dogbreed.training.checkpointer import Checkpointer, NullCheckpointer
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.phases import count_epochs, make_phases
from dogbreed.training.progress import MetricLogger, Progress, count_input_wait, measure_rates, require_finite
from dogbreed.training.recipe import Recipe
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import (
    MONITOR,
    Phase,
    TrainState,
    copy_ema_weights,
    flatten,
    get_arrays,
    set_arrays,
    sha256_of_arrays,
    should_continue,
    unflatten,
)
from dogbreed.training.steps import Evaluator, MetricSums, make_train_step, means

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """A finished training: the model with its best weights, and how it got there."""

    model: keras.Model
    history: tuple[dict[str, float], ...]  # one entry an epoch: epoch, loss, top1, top5, val_*, epoch_seconds
    resource_usage: dict[str, float]  # see dogbreed.training.resource_usage
    head_epochs: int  # so many of the epochs, the first ones, trained a head on a frozen body
    weights_sha256: str
    optimizer_sha256: str

    @property
    def best(self) -> dict[str, float]:
        """The epoch whose weights were kept."""
        return max(self.history, key=lambda epoch: epoch[MONITOR])


class Trainer:
    """Run the phases of one training and keep the weights of the best epoch."""

    def __init__(
        self,
        model: keras.Model,
        progress: Progress,
        checkpointer: Checkpointer,
        restored: Snapshot | None,
        distribution: DistributedContext,
    ) -> None:
        """model: the whole one, whose weights are kept. restored: what to resume from, None for a new training."""
        self.state = restored.state if restored else TrainState()
        self.best_weights = unflatten(restored.arrays, "best") if restored else []
        self.usage = ResourceUsage(self.state.resource_usage, distribution.gpus, distribution.num_processes)
        self._model, self._progress, self._checkpointer = model, progress, checkpointer
        self._distribution = distribution
        self._epoch_start = 0.0  # on the monotonic clock, less what earlier processes spent on the epoch
        with distribution.scope():
            self._sums = MetricSums()
        self._sums.assign(self.state.metric_sums)

    def prepare(self, phase: Phase, restored: Snapshot | None) -> None:
        """Build the phase's optimizer, and restore model and optimizer from a checkpoint of this phase."""
        with self._distribution.scope():
            phase.model.optimizer.build(phase.model.trainable_variables)
        if restored:
            set_arrays(restored.arrays, self._model, phase.model.optimizer)

    def train(self, phase: Phase) -> None:
        """Run the steps of a phase from the current state.

        Raises:
            ShutdownRequested: between two steps, after a signal; the last step is in a checkpoint.
        """
        state, checkpointer, progress = self.state, self._checkpointer, self._progress
        iterator = self._distribution.iterate(phase.make_batches(state.next_position(phase.steps)), phase.batch_size)
        train_step = make_train_step(phase.model, self._sums, self._distribution)
        evaluator = Evaluator(phase.ema_model or phase.model, phase.model, self._distribution)
        steps_per_call, argument = phase.model.steps_per_execution, iterator.element_spec
        batches = count_input_wait(iterator, state)
        if steps_per_call > 1:  # the step takes its batches from the iterator itself
            batches, argument = itertools.repeat(iterator), iterator
        # both are traced here, where a signal can interrupt it, and not in the first step
        train_step.get_concrete_function(argument)
        evaluator.trace(phase.validation)
        checkpointer.start(state.global_step)
        with self._checkpoint_when_stopped(phase), signals.deferred():
            while should_continue(state, phase):
                self._epoch_start = time.monotonic() - state.epoch_seconds
                progress.start_epoch(state, phase)
                while state.epoch_step < phase.steps:
                    train_step(next(batches))  # metrics stay on the device
                    state.advance(steps_per_call)
                    progress.end_step(state, phase, self._sums)
                    checkpointer.check_lease()
                    signals.raise_if_requested()
                    if checkpointer.should_save(state.global_step):
                        self.save(phase)
                self._end_epoch(phase, evaluator)

    def save(self, phase: Phase) -> None:
        """Start to write a checkpoint of the current state; DataError if a metric is not finite."""
        state = self.state
        state.metric_sums = self._sums.read()
        state.epoch_seconds = time.monotonic() - self._epoch_start if state.epoch_step else 0.0
        require_finite(means(state.metric_sums) if state.epoch_step else {}, f"epoch {len(state.history) + 1}")
        state.resource_usage = self.usage.read()
        arrays = get_arrays(self._model, phase.model.optimizer) | flatten("best", self.best_weights)
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
        values = self._validate(phase, evaluator)
        if values[MONITOR] > state.best_metric:
            self.best_weights = (phase.ema_model or self._model).get_weights()
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


def train(
    recipe: Recipe,
    manifest: Manifest,
    pipeline: InputPipeline,
    seed: int,
    logger: MetricLogger,
    init_weights: weights.Weights | None = None,
    checkpointer: Checkpointer | None = None,
    restored: Snapshot | None = None,
    distribution: DistributedContext | None = None,
    log_every: int = 0,
) -> TrainResult:
    """Train a recipe to its end.

    Args:
        init_weights: of a pretrained body, None for random weights.
        checkpointer: takes a checkpoint when one is due, at the end of each phase, and when training is stopped.
        restored: the checkpoint to resume from, None for a new training.
        distribution: a joined context, None for one device. All workers return the same result.
        log_every: steps between two log points of `step_*` metrics, 0 for none.

    Raises:
        DataError: there is too little to learn from, or the loss is not finite.
        ShutdownRequested: after SIGTERM or Ctrl-C; the last step is in a checkpoint.
    """
    distribution = distribution or DistributedContext()
    checkpointer = checkpointer or NullCheckpointer()
    _check(recipe, manifest, distribution)
    keras.utils.set_random_seed(seed)
    model = _initial_model(recipe, pipeline, len(manifest.classes), init_weights, distribution)
    if restored:
        log.info("resuming after step %d, epoch %d", restored.state.global_step, len(restored.state.history) + 1)
        logger.restore(restored.metric_spool)
    pretrained = init_weights is not None
    phases = make_phases(recipe, pipeline, model, seed, distribution, pretrained)
    progress = Progress(logger, count_epochs(recipe, pretrained), log_every)
    trainer = Trainer(model, progress, checkpointer, restored, distribution)
    state = trainer.state
    try:
        for make_phase in phases[state.phase :]:
            phase = make_phase()
            log.info("%s", phase)
            trainer.prepare(phase, restored)
            restored = None  # only its own phase is restored from a checkpoint
            if should_continue(state, phase):
                trainer.train(phase)
            _log_end(state, phase)
            trainer.save(phase)
            model.set_weights(trainer.best_weights)
            if state.phase < len(phases) - 1:
                state.start_next_phase()
    finally:
        checkpointer.wait_until_finished()
    return _result(recipe, model, phase, trainer, distribution)


def _log_end(state: TrainState, phase: Phase) -> None:
    """Log the best epoch of a phase, whose weights are kept, and why the phase ended early if it did."""
    best = len(state.history) - state.epochs_since_best
    early = f"stopped early, {MONITOR} was not better for {state.epochs_since_best} epochs; "
    log.info("%sbest weights: epoch %d, %s %.4f", early if state.epoch < phase.epochs else "", best, MONITOR,
             state.best_metric)  # fmt: skip


def _check(recipe: Recipe, manifest: Manifest, distribution: DistributedContext) -> None:
    """Raise DataError or UsageError where there is too little to learn from."""
    for split in (TRAIN, VALIDATION):
        manifest.require_nonempty(split)
    if len(manifest.classes) < 2:
        raise DataError("the dataset has one class only, there is nothing to learn; preprocess more --classes")
    images = manifest.split(TRAIN).num_examples
    if distribution.name != "single" and images < recipe.batch_size:
        raise UsageError(f"{images} train images do not fill a batch of {recipe.batch_size}; lower --batch-size")


def _initial_model(
    recipe: Recipe,
    pipeline: InputPipeline,
    classes: int,
    init_weights: weights.Weights | None,
    distribution: DistributedContext,
) -> keras.Model:
    """Return the model that a training begins with; EnvironmentUnsupported where it would not fit into memory."""
    with distribution.scope():
        model = build_model(recipe, classes)
    memory_estimate.check(memory_estimate.estimate(model, recipe, pipeline), recipe)
    if init_weights:
        weights.load(model, init_weights)
    return model


def _result(
    recipe: Recipe, model: keras.Model, last_phase: Phase, trainer: Trainer, distribution: DistributedContext
) -> TrainResult:
    """Return the result of a training whose last phase has ended."""
    state = trainer.state
    head_epochs = len(state.history) if last_phase.kind == "head" else state.phase_starts[-1]
    _warn_of_useless_finetuning(state.history[:head_epochs], state.history[head_epochs:])
    hashes = sha256_of_arrays(model.get_weights()), sha256_of_arrays(last_phase.model.optimizer.variables)
    plain = model if distribution.name == "single" else _without_strategy(recipe, model)
    return TrainResult(plain, tuple(state.history), trainer.usage.read(), head_epochs, *hashes)


def _warn_of_useless_finetuning(head: Sequence[dict[str, float]], full: Sequence[dict[str, float]]) -> None:
    if head and full and max(epoch[MONITOR] for epoch in head) >= max(epoch[MONITOR] for epoch in full):
        log.warning("no epoch with the body was better than the head alone, which is kept; lower learning_rate")


def _without_strategy(recipe: Recipe, model: keras.Model) -> keras.Model:
    """Return a copy of a model that has replicas, on one device."""
    plain = build_model(recipe, model.output.shape[-1])
    plain.set_weights(model.get_weights())
    return plain
