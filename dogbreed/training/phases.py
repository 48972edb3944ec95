"""The phases of a training: a new head on a pretrained body, then the whole model; or the whole model at once."""

from collections.abc import Callable, Mapping
from functools import partial

import keras

from dogbreed.core.errors import UsageError
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.splits import TRAIN, VALIDATION
from dogbreed.models import registry
from dogbreed.models.common import reduce_images
from dogbreed.training import finetune
from dogbreed.training.batches import one_hot, train_batches
from dogbreed.training.build import build_model, compile_model
from dogbreed.training.distillation import Teacher, compute_targets
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.gradients import use_sync_batchnorm
from dogbreed.training.optimizer import make_optimizer
from dogbreed.training.recipe import Recipe
from dogbreed.training.state import Phase

MakePhase = Callable[[], Phase]


def make_phases(
    recipe: Recipe,
    pipeline: InputPipeline,
    model: keras.Model,
    seed: int,
    distribution: DistributedContext,
    pretrained: bool,
    teacher: Teacher | None = None,
) -> dict[str, MakePhase]:
    """Return what makes each phase of a training, by kind; a phase is costly to make, so only those to come are made.

    Args:
        model: on one device, where the head is trained.
        distribution: of the phase of the whole model.
        teacher: from which the whole model learns; a head alone learns from labels.
    """
    phases: dict[str, MakePhase] = {}
    if pretrained and recipe.head.epochs:
        phases["head"] = partial(finetune.head_phase, recipe, pipeline, model, seed)
    if recipe.trainable_fraction or not pretrained:
        phases["full"] = partial(full_phase, recipe, pipeline, model, seed, distribution, pretrained, teacher)
    return phases


def count_epochs(recipe: Recipe, pretrained: bool) -> int:
    """Return the most epochs that all phases take together."""
    if not pretrained:
        return recipe.epochs
    return recipe.head.epochs + (recipe.epochs if recipe.trainable_fraction else 0)


def full_phase(
    recipe: Recipe,
    pipeline: InputPipeline,
    model: keras.Model,
    seed: int,
    distribution: DistributedContext,
    pretrained: bool,
    teacher: Teacher | None = None,
) -> Phase:
    """Return the phase of the whole model or, with a pretrained body, of the head and the body's upper part.

    model: on one device; several replicas train a copy of it.
    """
    steps = pipeline.steps_per_epoch(TRAIN)
    model = prepare_model(recipe, model, distribution, steps, pretrained)
    classes = model.output.shape[-1]
    targets = compute_targets(teacher, recipe, pipeline, seed) if teacher else None
    return Phase(
        kind="full",
        full_model=model,
        model=model,
        epochs=recipe.epochs,
        steps=steps,
        batch_size=recipe.batch_size,
        patience=recipe.patience,
        make_batches=partial(train_batches, recipe, pipeline, classes, seed, targets=targets),
        validation=one_hot(pipeline.eval_batches(VALIDATION), classes),
        distribution=distribution,
        ema_model=build_model(recipe, classes) if recipe.ema_decay else None,
        start_model=_start_model(recipe, model, distribution) if recipe.start_size else None,
        start_epochs=round(recipe.start_fraction * recipe.epochs) if recipe.start_size else 0,
    )


def _start_model(recipe: Recipe, model: keras.Model, distribution: DistributedContext) -> keras.Model:
    """Return the compiled model for the smaller images of the first epochs, with the same layers and optimizer.

    UsageError where the model takes no images of this size.
    """
    if recipe.start_size < registry.get(recipe.model).smallest:
        raise UsageError(f"start_size={recipe.start_size} is too small for {recipe.model}")
    with distribution.scope():
        small = reduce_images(model, recipe.start_size)
        compile_model(small, recipe, model.optimizer, model.steps_per_execution)
    return small


def prepare_model(
    recipe: Recipe, model: keras.Model, distribution: DistributedContext, steps: int, pretrained: bool
) -> keras.Model:
    """Freeze and compile a model for epochs of so many steps; with several replicas a copy of it, which is returned."""
    if distribution.is_replicated:
        model = _replicate(recipe, model, distribution)
    scales: Mapping[str, float] = {}
    if pretrained:
        finetune.freeze_below(model, recipe.trainable_fraction)
        scales = finetune.layer_lr_scales(model, recipe.layer_decay)
    # a number of steps that does not divide the epoch would run past its end
    block = max(size for size in range(1, recipe.steps_per_execution + 1) if steps % size == 0)
    with distribution.scope():
        compile_model(model, recipe, make_optimizer(recipe, steps, scales), block)
    if distribution.is_replicated and recipe.batch_norm == "synchronized":
        use_sync_batchnorm(model)
    return model


def _replicate(recipe: Recipe, model: keras.Model, distribution: DistributedContext) -> keras.Model:
    """Return a copy of a model with a replica on each device."""
    with distribution.scope():
        copy = build_model(recipe, model.output.shape[-1])
    for variable, source in zip(copy.variables, model.variables, strict=True):  # with the seeds of random layers
        variable.assign(source)
    return copy
