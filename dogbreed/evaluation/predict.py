"""A model's answers to a split."""

import keras
import numpy as np

from dogbreed.core.errors import DataError, UsageError
from dogbreed.data.config import TTA
from dogbreed.data.input_pipeline import InputPipeline


def predict(
    model: keras.Model, pipeline: InputPipeline, split: str, keep: int = 256, tta: str = "none"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return int32 labels [n], float32 probabilities [n, classes] and the first `keep` photos, uint8.

    tta: test-time augmentation, one of TTA; with `flip` the probabilities are the mean over each image and its mirror
    image.
    The order is that of the shards, which is random but fixed: the first photos are a fair sample.
    DataError when the model's answer is no number, UsageError for another kind of augmentation.
    """
    if tta not in TTA:
        raise UsageError(f"unknown test-time augmentation {tta!r}; known are {', '.join(TTA)}")
    labels, probabilities = [], []
    shown: list[np.ndarray] = []
    for photos, truth in pipeline.eval_batches(split):
        labels.append(truth.numpy())
        answer = model.predict_on_batch(photos)
        probabilities.append((answer + model.predict_on_batch(photos[:, :, ::-1])) / 2 if tta == "flip" else answer)
        if sum(len(batch) for batch in shown) < keep:
            shown.append(photos.numpy())
    answers = np.concatenate(probabilities)
    if not np.isfinite(answers).all():
        raise DataError(f"the model gives probabilities that are no numbers on {split}; train it again")
    return np.concatenate(labels), answers, np.concatenate(shown)[:keep]
