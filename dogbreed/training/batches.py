"""Training batches: images with one-hot or mixed labels (CutMix, MixUp), erasing, and class weights."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dogbreed.core import resources
from dogbreed.data.augment import Augment, cutmix, erase, mixup
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.splits import TRAIN
from dogbreed.data.train_source import do_not_convert
from dogbreed.training.class_weights import add_class_weights
from dogbreed.training.distillation import add_targets
from dogbreed.training.feature_cache import Features
from dogbreed.training.recipe import Recipe

BATCHES_AT_ONCE = 4  # each has its own memory


def train_batches(
    recipe: Recipe,
    pipeline: InputPipeline,
    classes: int,
    seed: int,
    start: tuple[int, int] = (0, 0),
    targets: Features | None = None,
) -> tf.data.Dataset:
    """Return uint8 images, float32 labels [n, classes] and, with class weights, float32 weights [n].

    Where the pipeline has a share of each batch, that share is what the whole batch would hold.

    Args:
        start: (epoch, step) of the first batch.
        targets: a teacher's probabilities, which replace the labels; see `distillation.compute_targets`.
    """
    views = recipe.distillation.views if targets else 0
    batches = pipeline.train_batches(recipe.augment, seed, recipe.epochs, recipe.cache, start, views)
    number = start[0] * pipeline.steps_per_epoch(TRAIN) + start[1]
    share = pipeline.batch_shard
    own = share.contains(tf.range(recipe.batch_size), recipe.batch_size) if share.workers > 1 else None
    if targets:
        rows = min(recipe.batch_size, pipeline.num_examples(TRAIN))
        labelled = add_targets(batches, targets, rows, recipe.distillation.temperature, number)
    else:
        labelled = one_hot(batches, classes)
    labelled = apply_mixup_cutmix(labelled, recipe.augment, seed, number, own)
    return add_class_weights(labelled, pipeline.counts(TRAIN)) if recipe.class_weights else labelled


def one_hot(batches: tf.data.Dataset, classes: int) -> tf.data.Dataset:
    """Return the batches with their labels as float32 [n, classes]."""
    return _map(batches, lambda images, labels: (images, tf.one_hot(labels, classes)))


def apply_mixup_cutmix(
    batches: tf.data.Dataset, augment: Augment, seed: int, first: int = 0, own: tf.Tensor | None = None
) -> tf.data.Dataset:
    """Apply CutMix, MixUp and erasing; each batch is a function of the seed and its number, counted from `first`.

    own: bool [batch_size], the places of a whole batch that these batches hold; None: all.
    """
    if not (augment.cutmix_prob or augment.mixup_prob or augment.erase_prob):
        return batches

    def mix_batch(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        draw = tf.random.stateless_uniform([], key + 1)
        ways = [
            (draw < augment.cutmix_prob, lambda: cutmix(*batch, key)),
            (draw < augment.cutmix_prob + augment.mixup_prob, lambda: mixup(*batch, key)),
        ]
        images, targets = tf.case(ways, default=lambda: batch)
        return erase(images, augment.erase_prob, key + 2, own) if augment.erase_prob else images, targets

    return _map(batches.enumerate(first), mix_batch)


def _map(batches: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Map several batches at a time, and keep their order."""
    return batches.map(do_not_convert(function), num_parallel_calls=min(BATCHES_AT_ONCE, resources.cores()))
