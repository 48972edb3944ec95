"""Calibration: how far a model's confidence differs from its accuracy."""

import numpy as np
import numpy.typing as npt
import pandas as pd

BINS = 15  # of equal width, as in Guo et al. 2017


def reliability_table(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Return one row for each of 15 bins of confidence of equal width.

    Columns: low, high (ends of the bin), images (int), confidence and accuracy (means, NaN in an empty bin).

    Args:
        confidence: [N] in 0-1, the probability of the predicted class.
        correct: bool [N].
    """
    bins = np.minimum((np.asarray(confidence, dtype=np.float64) * BINS).astype(int), BINS - 1)
    images = np.bincount(bins, minlength=BINS)
    means = [
        np.divide(np.bincount(bins, values, BINS), images, out=np.full(BINS, np.nan), where=images > 0)
        for values in (confidence, correct)
    ]
    ends = np.arange(BINS + 1) / BINS
    return pd.DataFrame(
        {"low": ends[:-1], "high": ends[1:], "images": images, "confidence": means[0], "accuracy": means[1]}
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Return the expected calibration error of a `reliability_table`, 0-1.

    It is the mean distance between confidence and accuracy, weighted by the images of each bin (Naeini et al. 2015;
    Guo et al. 2017, arXiv:1706.04599).
    """
    distance = (table["confidence"] - table["accuracy"]).abs()
    return float((distance * table["images"]).sum() / table["images"].sum())
