"""One training: build, compile, run its phases with an Observer, keep the best weights."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dogbreed.data.dataset import Manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import TRAIN, VALIDATION
from dogbreed.platform.errors import DataContradiction, UnknownName
from dogbreed.training import batches, memory, transfer, zoo
from dogbreed.training.checkpoint import Snapshot
from dogbreed.training.course import MONITOR
from dogbreed.training.distribution import Distribution, synchronize
from dogbreed.training.learner import metrics
from dogbreed.training.loop import Loop
from dogbreed.training.optimizer import LayerwiseAdamW, adamw
from dogbreed.training.phase import Phase
from dogbreed.training.recipe import Recipe
from dogbreed.training.saver import Saver
from dogbreed.training.watcher import Observer, Watcher
from dogbreed.training.zoo import ends, weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A finished training: the model with its best weights and how it got there."""

    model: keras.Model
    history: tuple[dict[str, float], ...]  # one entry an epoch: epoch, loss, top1, top5, val_*, seconds
    cost: dict[str, float]  # see dogbreed.training.cost
    head_epochs: int  # so many of them, the first ones, trained a head on a frozen body
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
    observer: Observer,
    begin: weights.Weights | None = None,
    saver: Saver | None = None,
    saved: Snapshot | None = None,
    distribution: Distribution | None = None,
) -> Trained:
    """Train `recipe`, from `begin` where it is given, going on with `saved`, and leave checkpoints to `saver`.

    distribution: joined; None for one device. All workers of one come to the same result.
    DataContradiction when the loss stops being a number. On Stopped the last whole step is in a checkpoint.
    """
    distribution = distribution or Distribution()
    _check(recipe, manifest, distribution)
    keras.utils.set_random_seed(seed)
    with distribution.scope():
        model = build(recipe, len(manifest.classes))
    memory.check(memory.plan(model, recipe, pipeline), recipe)
    if begin:
        weights.load(model, begin)
    if saved:
        log.info("going on after step %d, epoch %d", saved.course.step, len(saved.course.history) + 1)
        observer.restore(saved.spool)
    loop = Loop(model, Watcher(_epochs(recipe, begin), observer), saver, saved, distribution)
    try:
        trained = _train(loop, model, _phases(recipe, pipeline, model, seed, begin is not None, distribution))
    finally:
        if saver:
            saver.wait()
    return trained if distribution.name == "single" else dataclasses.replace(trained, model=_plain(recipe, model))


def _check(recipe: Recipe, manifest: Manifest, distribution: Distribution) -> None:
    """Raise DataContradiction or UnknownName when there is too little to learn from."""
    for split in (TRAIN, VALIDATION):
        manifest.filled(split)
    if len(manifest.classes) < 2:
        raise DataContradiction("the dataset has one breed only, there is nothing to learn; preprocess more --breeds")
    photos = manifest.split(TRAIN).records
    if distribution.name != "single" and photos < recipe.batch_size:
        raise UnknownName(f"{photos} train photos are no batch of {recipe.batch_size}; lower --batch-size")


def _plain(recipe: Recipe, model: keras.Model) -> keras.Model:
    """Return a copy of a model that has replicas, on one device."""
    plain = build(recipe, model.output.shape[-1])
    plain.set_weights(model.get_weights())
    return plain


def _train(loop: Loop, model: keras.Model, phases: Sequence[Callable[[], Phase]]) -> Trained:
    """Run the phases that are left."""
    course = loop.course
    for make in phases[course.phase :]:
        phase = make()
        loop.run(phase)
        model.set_weights(loop.best)
        if course.phase < len(phases) - 1:
            course.next_phase()
    heads = course.starts[1] if len(phases) > 1 else len(course.history) * (phase.batch_size is None)
    if 0 < heads < len(course.history) and _best(course.history[:heads]) >= _best(course.history[heads:]):
        log.warning("no epoch with the body was better than the head alone, which is kept; lower learning_rate")
    hashes = digest(model.get_weights()), digest(phase.learning.optimizer.variables)
    return Trained(model, tuple(course.history), loop.meter.read(), heads, *hashes)


def _epochs(recipe: Recipe, begin: weights.Weights | None) -> int:
    heads = recipe.head.epochs if begin else 0
    return heads + (recipe.epochs if recipe.unfrozen or not begin else 0)


def _phases(
    recipe: Recipe,
    pipeline: InputPipeline,
    model: keras.Model,
    seed: int,
    transferred: bool,
    distribution: Distribution,
) -> list[Callable[[], Phase]]:
    """Return what makes each phase of a training; a phase is costly to make, so only those to come are made."""
    head, body = (partial(make, recipe, pipeline, model, seed, distribution) for make in (_head, _body))
    if not transferred:
        return [partial(body, transferred=False)]
    return [*[head] * (recipe.head.epochs > 0), *[partial(body, transferred=True)] * (recipe.unfrozen > 0)]


def _head(recipe: Recipe, pipeline: InputPipeline, model: keras.Model, seed: int, distribution: Distribution) -> Phase:
    """Return the phase that trains the head alone, on features that the body gives once."""
    seen, validation = transfer.seen(ends.body(model), recipe, pipeline, seed)
    classes, settings = model.output.shape[-1], recipe.head
    with _precision(policy(recipe.precision)):  # Keras scales the loss of a model of 16 bits only
        head = ends.head(model)
    steps = -(-len(seen.labels) // settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps)
    _compile(head, recipe, LayerwiseAdamW(rate, decay=recipe.weight_decay, factors={}))
    return Phase(
        learning=head,
        epochs=settings.epochs,
        steps=steps,
        patience=settings.epochs,
        batches=partial(transfer.batches, seen, classes, settings.batch_size, settings.epochs, seed),
        validation=transfer.batches(validation, classes, settings.batch_size, 1, seed),
    )


def _body(
    recipe: Recipe,
    pipeline: InputPipeline,
    model: keras.Model,
    seed: int,
    distribution: Distribution,
    transferred: bool,
) -> Phase:
    """Return the phase of the whole model or, with transferred weights, of the head and the body's upper part."""
    factors: Mapping[str, float] = {}
    if transferred:
        transfer.freeze(model, recipe.unfrozen)
        factors = transfer.factors(model, recipe.layer_decay)
    classes, steps = model.output.shape[-1], pipeline.steps(TRAIN)
    # a number of batches that does not divide the epoch would run past its end
    block = max(size for size in range(1, recipe.steps_per_execution + 1) if steps % size == 0)
    with distribution.scope():
        _compile(model, recipe, adamw(recipe, steps, factors), block)
    if distribution.name != "single":
        synchronize(model)
    return Phase(
        learning=model,
        epochs=recipe.epochs,
        steps=steps,
        patience=recipe.patience,
        batches=partial(batches.training, recipe, pipeline, classes, seed),
        validation=batches.one_hot(pipeline.evaluation(VALIDATION), classes),
        batch_size=recipe.batch_size,
        ema=recipe.ema > 0,
    )


def _best(history: Sequence[dict[str, float]]) -> float:
    return max(epoch[MONITOR] for epoch in history)


def policy(precision: str) -> str:
    """Return the name of Keras' dtype policy behind a recipe's precision on this machine."""
    if precision != "auto":
        return precision
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"


@contextmanager
def _precision(name: str) -> Iterator[None]:
    """Build layers that compute in `name`; their weights stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build(recipe: Recipe, classes: int) -> keras.Model:
    """Return the recipe's untrained model."""
    with _precision(policy(recipe.precision)):
        return zoo.build(recipe.model, recipe.size, classes, recipe.dropout)


def compiled(recipe: Recipe, classes: int, steps: int) -> keras.Model:
    """Return the recipe's untrained model with loss, metrics and optimizer; an epoch has `steps` batches."""
    model = build(recipe, classes)
    _compile(model, recipe, adamw(recipe, steps, {}))
    return model


def _compile(model: keras.Model, recipe: Recipe, optimizer: keras.optimizers.Optimizer, block: int = 1) -> None:
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=metrics(),
        steps_per_execution=block,
        jit_compile=bool(tf.config.list_physical_devices("GPU")),  # XLA: 0.57x on CPU
    )


def digest(arrays: Any) -> str:
    """Return the SHA-256 of the arrays' bytes in order."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(keras.ops.convert_to_numpy(array)).tobytes())
    return hashed.hexdigest()
