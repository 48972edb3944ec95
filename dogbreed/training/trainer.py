"""Training from a recipe to the best weights: what is checked first, the phases, and the result."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from dogbreed.core.errors import DataError, UsageError
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.data.splits import TRAIN, VALIDATION
from dogbreed.models import weights, whitening
from dogbreed.training import finetune, memory_estimate
from dogbreed.training.build import build_model, resolve_precision
from dogbreed.training.checkpoint import Snapshot
from dogbreed.training.checkpointer import Checkpointer, NullCheckpointer
from dogbreed.training.distillation import Teacher
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.loop import TrainLoop
from dogbreed.training.out_of_memory import smaller_training_batch, translating_out_of_memory
from dogbreed.training.phases import MakePhase, count_epochs, make_phases
from dogbreed.training.profiler import StepProfiler
from dogbreed.training.progress import MetricLogger, Progress
from dogbreed.training.recipe import Recipe
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import MONITOR, Phase, sha256_of_arrays

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
    profiler: StepProfiler | None = None,
    teacher: Teacher | None = None,
) -> TrainResult:
    """Train a recipe to its end.

    Args:
        init_weights: of a pretrained body, None for random weights.
        checkpointer: takes a checkpoint when one is due, at the end of each phase, and when training is stopped.
        restored: the checkpoint to resume from, None for a new training.
        distribution: a joined context, None for one device. All workers return the same result.
        log_every: steps between two log points of `step_*` metrics, 0 for none.
        profiler: traces steps of the whole model, None for no trace.
        teacher: the one that the recipe names, None for none.

    Raises:
        DataError: there is too little to learn from, or the loss is not finite.
        EnvironmentUnsupported: host or device have too little memory.
        ShutdownRequested: after SIGTERM or Ctrl-C; the last step is in a checkpoint.
    """
    distribution = distribution or DistributedContext()
    checkpointer = checkpointer or NullCheckpointer()
    _check(recipe, manifest, distribution)
    keras.utils.set_random_seed(seed)
    model = _initial_model(recipe, pipeline, len(manifest.classes), init_weights)
    if restored:
        log.info("resuming after step %d, epoch %d", restored.state.global_step, len(restored.state.history) + 1)
        logger.restore(restored.metric_spool)
    pretrained = init_weights is not None
    phases = make_phases(recipe, pipeline, model, seed, distribution, pretrained, teacher)
    progress = Progress(logger, count_epochs(recipe, pretrained), log_every)
    used = restored.state.resource_usage if restored else {}
    usage = ResourceUsage(used, distribution.gpus, distribution.num_processes)
    loop = TrainLoop(progress, checkpointer, usage, restored, profiler)
    try:
        advice = smaller_training_batch(recipe.batch_size, distribution.batch_unit)
        with translating_out_of_memory(recipe.batch_size, advice):
            last_phase = _run_phases(phases, model, loop, restored, distribution)
    finally:
        checkpointer.wait_until_finished()
    if profiler:
        profiler.finish()
    return _result(recipe, model, last_phase, loop)


def _run_phases(
    phases: Mapping[str, MakePhase],
    model: keras.Model,
    loop: TrainLoop,
    restored: Snapshot | None,
    distribution: DistributedContext,
) -> Phase:
    """Run the phases from that of the loop's state on, and return the last one.

    Of several workers, the chief alone trains the head, and gives it to the others.
    """
    kinds = list(phases)
    for kind in kinds[loop.state.phase :]:
        shared = kind == "head" and distribution.num_processes > 1
        if distribution.is_chief or not shared:
            phase = phases[kind]()
            loop.run(phase, restored)
        if shared:
            loop.state = finetune.share_head(model, loop.state, distribution)
            loop.best_weights = model.get_weights()
        restored = None  # only its own phase is restored from a checkpoint
        if kind != kinds[-1]:
            loop.state.start_next_phase()
    return phase


def _check(recipe: Recipe, manifest: Manifest, distribution: DistributedContext) -> None:
    """Raise DataError or UsageError where there is too little to learn from."""
    for split in (TRAIN, VALIDATION):
        manifest.require_nonempty(split)
    if len(manifest.classes) < 2:
        raise DataError("the dataset has one class only, there is nothing to learn; preprocess more --classes")
    images = manifest.split(TRAIN).num_examples
    if distribution.num_processes > 1 and not recipe.trainable_fraction:
        raise UsageError("trainable_fraction=0 trains a head alone, which workers cannot share; start one process")
    if distribution.is_replicated and images < recipe.batch_size:
        raise UsageError(f"{images} train images do not fill a batch of {recipe.batch_size}; lower --batch-size")


def _initial_model(
    recipe: Recipe, pipeline: InputPipeline, classes: int, init_weights: weights.Weights | None
) -> keras.Model:
    """Return the model that a training begins with; EnvironmentUnsupported where it would not fit into memory.

    Whitening filters, which stay as they are, come with `init_weights` or else from the first train images.
    """
    model = build_model(recipe, classes)
    memory_estimate.check(memory_estimate.estimate(model, recipe, pipeline), recipe)
    if init_weights:
        weights.load(model, init_weights)
    elif whitening.has_whitening(model):
        first = pipeline.eval_batches(TRAIN).rebatch(whitening.IMAGES)
        whitening.fit_whitening(model, next(first.as_numpy_iterator())[0])
    return model


def _result(recipe: Recipe, model: keras.Model, last_phase: Phase, loop: TrainLoop) -> TrainResult:
    """Return the result of a training whose last phase has ended; `model` is the one on one device."""
    state, trained = loop.state, last_phase.full_model
    head_epochs = len(state.history) if last_phase.kind == "head" else state.phase_starts[-1]
    _warn_of_useless_finetuning(state.history[:head_epochs], state.history[head_epochs:])
    hashes = sha256_of_arrays(trained.get_weights()), sha256_of_arrays(last_phase.model.optimizer.variables)
    if resolve_precision(recipe.precision) != "float32":  # the precision in which it is evaluated and served
        model = build_model(dataclasses.replace(recipe, precision="float32"), model.output.shape[-1])
    if trained is not model:
        model.set_weights(trained.get_weights())
    return TrainResult(model, tuple(state.history), loop.usage.read(), head_epochs, *hashes)


def _warn_of_useless_finetuning(head: Sequence[dict[str, float]], full: Sequence[dict[str, float]]) -> None:
    if head and full and max(epoch[MONITOR] for epoch in head) >= max(epoch[MONITOR] for epoch in full):
        log.warning("no epoch with the body was better than the head alone, which is kept; lower learning_rate")
