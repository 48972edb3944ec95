"""Whether a model is as often right as it says it is."""

import numpy as np
import numpy.typing as npt
import pandas as pd

BINS = 15  # of equal width, as in Guo et al. 2017


def reliability_table(confidence: npt.NDArray[np.floating], hits: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Return a row for each of 15 bins of equal width of the first prediction's probability.

    confidence: [N] in 0-1; hits: bool [N]. Columns: low, high (the bin's ends), photos (int), confidence and accuracy
    (means, NaN in an empty bin).
    """
    places = np.minimum((np.asarray(confidence, dtype=np.float64) * BINS).astype(int), BINS - 1)
    photos = np.bincount(places, minlength=BINS)
    means = [
        np.divide(np.bincount(places, values, BINS), photos, out=np.full(BINS, np.nan), where=photos > 0)
        for values in (confidence, hits)
    ]
    ends = np.arange(BINS + 1) / BINS
    return pd.DataFrame(
        {"low": ends[:-1], "high": ends[1:], "photos": photos, "confidence": means[0], "accuracy": means[1]}
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Return the expected calibration error of `reliability_table`, 0-1: the mean distance of confidence and accuracy.

    Bins count by their photos (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599).
    """
    distance = (table["confidence"] - table["accuracy"]).abs()
    return float((distance * table["photos"]).sum() / table["photos"].sum())
