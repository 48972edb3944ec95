"""Probabilities of a model for each image of a split, with test-time augmentation."""

from typing import NamedTuple

import keras
import numpy as np

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
        tta: test-time augmentation, one of TTA; with `flip` the probabilities are the mean over each image and its
            mirror image.

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
        predicted = model.predict_on_batch(images)
        if tta == "flip":
            predicted = (predicted + model.predict_on_batch(images[:, :, ::-1])) / 2
        probabilities.append(predicted)
        if sum(len(batch) for batch in kept) < num_images:
            kept.append(images.numpy())
    result = SplitPredictions(np.concatenate(labels), np.concatenate(probabilities), np.concatenate(kept)[:num_images])
    if not np.isfinite(result.probabilities).all():
        raise DataError(f"the model's probabilities on {split} are not finite; train it again")
    return result
