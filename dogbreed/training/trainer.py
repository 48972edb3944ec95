"""One training: build, compile, fit with an Observer, keep the best weights."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dogbreed.data.dataset import Manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import TRAIN, VALIDATION
from dogbreed.platform.errors import DataContradiction
from dogbreed.training import batches, memory, transfer, zoo
from dogbreed.training.cost import Meter
from dogbreed.training.optimizer import LayerwiseAdamW, adamw
from dogbreed.training.recipe import Recipe
from dogbreed.training.watcher import Observer, Watcher
from dogbreed.training.zoo import ends, weights

MONITOR = "val_top1"

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
) -> Trained:
    """Train `recipe`, from `begin` where it is given; DataContradiction when the loss stops being a number."""
    for split in (TRAIN, VALIDATION):
        manifest.filled(split)
    if len(manifest.classes) < 2:
        raise DataContradiction("the dataset has one breed only, there is nothing to learn; preprocess more --breeds")
    meter = Meter()
    keras.utils.set_random_seed(seed)
    model = build(recipe, len(manifest.classes))
    memory.check(memory.plan(model, recipe, pipeline), recipe)
    heads = recipe.head.epochs if begin else 0
    whole = recipe.epochs if recipe.unfrozen or not begin else 0
    watcher = Watcher(heads + whole, observer)
    if begin:
        weights.load(model, begin)
    if heads:
        _train_head(model, recipe, pipeline, seed, watcher)
    head_only = model.get_weights() if heads else []
    if whole:
        _train_body(model, recipe, pipeline, seed, watcher, transferred=begin is not None)
    if heads and whole and _best(watcher.history[:heads]) >= _best(watcher.history[heads:]):
        log.warning("no epoch with the body was better than the head alone, which is kept; lower learning_rate")
        model.set_weights(head_only)
    hashes = digest(model.get_weights()), digest(watcher.model.optimizer.variables)
    return Trained(model, tuple(watcher.history), meter.read(), heads, *hashes)


def _train_head(model: keras.Model, recipe: Recipe, pipeline: InputPipeline, seed: int, watcher: Watcher) -> None:
    """Train the head alone, on features that the body gives once."""
    seen, validation = transfer.seen(ends.body(model), recipe, pipeline, seed)
    classes, settings = model.output.shape[-1], recipe.head
    with _precision(policy(recipe.precision)):  # Keras scales the loss of a model of 16 bits only
        head = ends.head(model)
    steps = -(-len(seen.labels) // settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps)
    _compile(head, recipe, LayerwiseAdamW(rate, decay=recipe.weight_decay, factors={}))
    head.fit(
        seen.values,
        keras.utils.to_categorical(seen.labels, classes),
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        validation_data=(validation.values, keras.utils.to_categorical(validation.labels, classes)),
        callbacks=[_keep_best(settings.epochs), watcher],
        verbose=0,
    )


def _train_body(
    model: keras.Model, recipe: Recipe, pipeline: InputPipeline, seed: int, watcher: Watcher, transferred: bool
) -> None:
    """Train the whole model or, with transferred weights, the head and the upper part of the body."""
    factors: Mapping[str, float] = {}
    if transferred:
        transfer.freeze(model, recipe.unfrozen)
        factors = transfer.factors(model, recipe.layer_decay)
    watcher.batch_size = recipe.batch_size
    classes, steps = model.output.shape[-1], pipeline.steps(TRAIN)
    # Keras runs past an epoch's end with a number of batches that does not divide it
    block = max(size for size in range(1, recipe.steps_per_execution + 1) if steps % size == 0)
    _compile(model, recipe, adamw(recipe, steps, factors), block)
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []
    model.fit(
        watcher.timed(batches.training(recipe, pipeline, classes, seed)),
        validation_data=batches.one_hot(pipeline.evaluation(VALIDATION), classes),
        steps_per_epoch=steps,
        epochs=recipe.epochs,
        callbacks=[*swap, _keep_best(recipe.patience), watcher],
        shuffle=False,  # the pipeline has done it
        verbose=0,
    )


def _best(history: Sequence[dict[str, float]]) -> float:
    return max(epoch[MONITOR] for epoch in history)


def _keep_best(patience: int) -> keras.callbacks.Callback:
    return keras.callbacks.EarlyStopping(MONITOR, mode="max", patience=patience, restore_best_weights=True)


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
        metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
        steps_per_execution=block,
        jit_compile=bool(tf.config.list_physical_devices("GPU")),  # XLA: 0.57x on CPU
    )


def digest(arrays: Any) -> str:
    """Return the SHA-256 of the arrays' bytes in order."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(keras.ops.convert_to_numpy(array)).tobytes())
    return hashed.hexdigest()
