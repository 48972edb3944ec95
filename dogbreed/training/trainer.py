"""One training: build, compile, fit with an Observer, keep the best weights."""

import hashlib
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dogbreed.data.augment import Augment, cutmix
from dogbreed.data.dataset import Manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import TRAIN, VALIDATION
from dogbreed.platform.errors import DataContradiction
from dogbreed.training import zoo
from dogbreed.training.recipe import Recipe

MONITOR = "val_top1"

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Whoever wants to know how a training goes."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one epoch; `step` counts from 1."""


@dataclass(frozen=True)
class Trained:
    """A finished training: the model with its best weights and how it got there."""

    model: keras.Model
    history: tuple[dict[str, float], ...]  # one entry an epoch: epoch, loss, top1, top5, val_*, seconds
    weights_sha256: str
    optimizer_sha256: str

    @property
    def best(self) -> dict[str, float]:
        """The epoch whose weights were kept."""
        return max(self.history, key=lambda epoch: epoch[MONITOR])


def train(recipe: Recipe, manifest: Manifest, pipeline: InputPipeline, seed: int, observer: Observer) -> Trained:
    """Train `recipe` from scratch; DataContradiction when the loss stops being a number."""
    for split in (TRAIN, VALIDATION):
        manifest.filled(split)
    if len(manifest.classes) < 2:
        raise DataContradiction("the dataset has one breed only, there is nothing to learn; preprocess more --breeds")
    keras.utils.set_random_seed(seed)
    steps, classes = pipeline.steps(TRAIN), len(manifest.classes)
    model = compiled(recipe, classes, steps)
    watcher = _Watcher(recipe, steps, observer)
    model.fit(
        training_batches(recipe, pipeline, classes, seed),
        validation_data=_one_hot(pipeline.evaluation(VALIDATION), classes),
        steps_per_epoch=steps,
        epochs=recipe.epochs,
        callbacks=_callbacks(recipe, watcher),
        shuffle=False,  # the pipeline has done it
        verbose=0,
    )
    return Trained(model, tuple(watcher.history), _digest(model.get_weights()), _digest(model.optimizer.variables))


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


def training_batches(recipe: Recipe, pipeline: InputPipeline, classes: int, seed: int) -> tf.data.Dataset:
    """Return what a model trains on: uint8 photos and one-hot or, after CutMix, mixed float32 labels."""
    batches = pipeline.training(recipe.augment, seed, recipe.epochs, decoded=recipe.cache == "decoded")
    return _mixed(_one_hot(batches, classes), recipe.augment, seed)


def _one_hot(batches: tf.data.Dataset, classes: int) -> tf.data.Dataset:
    return batches.map(lambda photos, labels: (photos, tf.one_hot(labels, classes)))


def _mixed(batches: tf.data.Dataset, augment: Augment, seed: int) -> tf.data.Dataset:
    """Apply CutMix to its share of the batches, each a function of (seed, number of the batch)."""
    if not augment.cutmix:
        return batches

    def one(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        own = tf.stack([tf.constant(seed, tf.int64), number])
        chosen = tf.random.stateless_uniform([], own + 1) < augment.cutmix
        result: tuple[tf.Tensor, tf.Tensor] = tf.cond(chosen, lambda: cutmix(*batch, own), lambda: batch)
        return result

    return batches.enumerate().map(one)


def compiled(recipe: Recipe, classes: int, steps: int) -> keras.Model:
    """Return the recipe's untrained model with loss, metrics and optimizer; an epoch has `steps` batches."""
    with _precision(policy(recipe.precision)):
        model = zoo.build(recipe.model, recipe.size, classes, recipe.dropout)
    model.compile(
        optimizer=_optimizer(recipe, steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
        jit_compile=False,  # 0.57x on CPU
    )
    return model


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    total = recipe.epochs * steps
    warmup = min(round(recipe.warmup_epochs * steps), total // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 100 if warmup else recipe.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=recipe.weight_decay,
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _callbacks(recipe: Recipe, watcher: "_Watcher") -> list[keras.callbacks.Callback]:
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []
    stop = keras.callbacks.EarlyStopping(MONITOR, mode="max", patience=recipe.patience, restore_best_weights=True)
    return [*swap, stop, watcher]


class _Watcher(keras.callbacks.Callback):
    """Shows progress, hands each epoch to the observer, and ends a training that left the numbers."""

    def __init__(self, recipe: Recipe, steps: int, observer: Observer) -> None:
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._recipe, self._steps, self._observer = recipe, steps, observer
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.monotonic()
        label = f"epoch {epoch + 1}/{self._recipe.epochs}"
        self._bar = tqdm(total=self._steps, desc=label, unit="batch", leave=False, disable=not sys.stderr.isatty())

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.update()
        self._require_numbers(logs or {}, f"batch {batch + 1} of epoch {len(self.history) + 1}")

    def _require_numbers(self, values: dict[str, float], where: str) -> None:
        wrong = [f"{key} is {value}" for key, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise DataContradiction(
                f"{', '.join(wrong)} in {where}; nothing is registered. "
                "Lower the rate, for example --set learning_rate=0.0005"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.close()
        values = {key: float(value) for key, value in (logs or {}).items()}
        self._require_numbers(values, f"epoch {epoch + 1}")
        seconds = time.monotonic() - self._began
        values |= {
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": seconds,
            "photos_per_second": self._steps * self._recipe.batch_size / seconds,
        }
        self.history.append({"epoch": epoch + 1, **values})
        log.info(
            "epoch %d of %d: loss %.3f, top1 %.1f %%, val_loss %.3f, val_top1 %.1f %%, %.0f s",
            epoch + 1,
            self._recipe.epochs,
            values["loss"],
            100 * values["top1"],
            values["val_loss"],
            100 * values["val_top1"],
            seconds,
        )
        self._observer.log(epoch + 1, values)


def _digest(arrays: Any) -> str:
    """Return the SHA-256 of the arrays' bytes in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(array)).tobytes())
    return digest.hexdigest()


def predict(
    model: keras.Model, pipeline: InputPipeline, split: str, keep: int = 256
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return int32 labels [n], float32 probabilities [n, classes] and the first `keep` photos, uint8.

    The order is that of the shards, which is random but fixed: the first photos are a fair sample.
    DataContradiction when the model's answer is no number.
    """
    labels, probabilities = [], []
    shown: list[np.ndarray] = []
    for photos, truth in pipeline.evaluation(split):
        labels.append(truth.numpy())
        probabilities.append(model.predict_on_batch(photos))
        if sum(len(batch) for batch in shown) < keep:
            shown.append(photos.numpy())
    answers = np.concatenate(probabilities)
    if not np.isfinite(answers).all():
        raise DataContradiction(f"the model gives probabilities that are no numbers on {split}; train it again")
    return np.concatenate(labels), answers, np.concatenate(shown)[:keep]
