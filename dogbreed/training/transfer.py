"""A new head on a body that has learned elsewhere: features once, a head on them, then the body's upper part."""

import logging
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import TRAIN, VALIDATION
from dogbreed.platform.log import progress
from dogbreed.training.recipe import Recipe
from dogbreed.training.zoo import ends

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What a frozen body makes of photos: float32 [n, width], and their int32 labels [n]."""

    values: np.ndarray
    labels: np.ndarray


def features(body: keras.Model, batches: tf.data.Dataset, photos: int, what: str) -> Features:
    """Return the features of all photos of the batches."""
    shown = progress(batches, f"{what} through the body", photos, "photos", size=lambda batch: len(batch[1]))
    found = [(body.predict_on_batch(images), labels.numpy()) for images, labels in shown]
    values, labels = zip(*found, strict=True)
    return Features(np.concatenate(values).astype("float32"), np.concatenate(labels))


def seen(body: keras.Model, recipe: Recipe, pipeline: InputPipeline, seed: int) -> tuple[Features, Features]:
    """Return the features of `head.views` random views of the train photos, and of the validation photos."""
    views = recipe.head.views
    training = pipeline.training(recipe.augment, seed, views)
    return (
        features(body, training, views * pipeline.records(TRAIN), "train photos"),
        features(body, pipeline.evaluation(VALIDATION), pipeline.records(VALIDATION), "validation photos"),
    )


def batches(
    found: Features, classes: int, size: int, epochs: int, seed: int, begin: tuple[int, int] = (0, 0)
) -> tf.data.Dataset:
    """Return `epochs` passes of features and float32 labels [n, classes], shuffled by (seed, epoch).

    begin: (epoch, batch) of the first batch.
    """
    values, labels = tf.constant(found.values), tf.one_hot(found.labels, classes)

    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        own = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(found.labels)), own)
        passed = tf.where(epoch == begin[0], begin[1] * size, 0)
        places = tf.data.Dataset.from_tensor_slices(order[passed:]).batch(size)
        return places.map(lambda chosen: (tf.gather(values, chosen), tf.gather(labels, chosen)))

    steps = -(-len(found.labels) // size)
    left = tf.data.experimental.assert_cardinality((epochs - begin[0]) * steps - begin[1])
    return tf.data.Dataset.range(begin[0], epochs).flat_map(one).apply(left).prefetch(2)


def freeze(model: keras.Model, unfrozen: float) -> None:
    """Leave the last `unfrozen` share of the body's layers to learn, but no BatchNormalization.

    The statistics of BatchNormalization belong to the weights that came with them; a small batch would spoil them.
    """
    learning = _learning(model)
    for layer in learning[: round(len(learning) * (1 - unfrozen))]:
        layer.trainable = False
    for layer in ends.leaves(ends.body(model)):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def factors(model: keras.Model, decay: float) -> dict[str, float]:
    """Return what each variable's rate is multiplied by: `decay` in the first layer that learns, 1 at the head."""
    learning = _learning(model)
    return {
        variable.path: decay ** (1 - place / len(learning))
        for place, layer in enumerate(learning)
        for variable in layer.trainable_variables
    }


def _learning(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in ends.leaves(ends.body(model)) if layer.trainable_variables]
