"""Probabilities of a model for each image of a split, with test-time augmentation."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core.errors import DataError, UsageError
from dogbreed.data.config import TTA
from dogbreed.data.input_pipeline import InputPipeline


class SplitPredictions(NamedTuple):
    """Labels and probabilities of a split, and its first images, in the order of the shards."""

    labels: np.ndarray  # int32 [n]
    probabilities: np.ndarray  # float32 [n, classes]
    images: np.ndarray  # uint8 [up to n, size, size, 3]


def predict(
    model: keras.Model, pipeline: InputPipeline, split: str, num_images: int = 256, tta: str = "none"
) -> SplitPredictions:
    """Return the model's predictions on a split and the first `num_images` images.

    The order of the shards is random but fixed, so the first images are a fair sample.

    Args:
        tta: test-time augmentation, one of TTA, see `augmented_views`.

    Raises:
        DataError: a probability is not finite.
        UsageError: unknown test-time augmentation.
    """
    if tta not in TTA:
        raise UsageError(f"unknown test-time augmentation {tta!r}; known are {', '.join(TTA)}")
    labels, probabilities = [], []
    kept: list[np.ndarray] = []
    for images, batch_labels in pipeline.eval_batches(split):
        labels.append(batch_labels.numpy())
        probabilities.append(_mean_prediction(model, images, tta))
        if sum(len(batch) for batch in kept) < num_images:
            kept.append(images.numpy())
    result = SplitPredictions(np.concatenate(labels), np.concatenate(probabilities), np.concatenate(kept)[:num_images])
    if not np.isfinite(result.probabilities).all():
        raise DataError(f"the model's probabilities on {split} are not finite; train it again")
    return result


def _mean_prediction(model: keras.Model, images: tf.Tensor, tta: str) -> np.ndarray:
    """Return the model's mean probabilities, float32 [n, classes], of images with test-time augmentation."""
    weighted = [weight * model.predict_on_batch(view) for weight, view in augmented_views(images, tta)]
    return np.asarray(np.sum(weighted, axis=0))


def augmented_views(images: tf.Tensor, tta: str) -> list[tuple[float, tf.Tensor]]:
    """Return the weights, 1 in all, and the views, uint8 [n, size, size, 3] like `images`, of a kind of TTA.

    `none`: each image. `flip`: it and its mirror image, with equal weights. `flip-shift`: half for it and its mirror
    image, half for it shifted by one pixel up and left, and down and right, and the mirror images of these; the row and
    the column that come into view are a reflection (multi-crop evaluation of Jordan 2024, arXiv:2404.00498).
    """
    if tta == "none":
        return [(1.0, images)]
    places = [(0.5, images)]
    if tta == "flip-shift":
        padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
        places = [(0.25, images), (0.125, padded[:, 2:, 2:]), (0.125, padded[:, :-2, :-2])]
    return [(weight, view) for weight, place in places for view in (place, place[:, :, ::-1])]
