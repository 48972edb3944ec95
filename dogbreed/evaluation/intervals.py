"""95 % confidence intervals of scores, for the choice of test images."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, bootstrap

from dogbreed.evaluation.metrics import Labels, Probabilities, macro_f1, per_example

RESAMPLES = 1000
BATCH = 100  # resamples computed at a time: 7 MB for 8,580 images

Interval = tuple[float, float]  # its lower and upper end
Values = npt.NDArray[np.float64]


def bootstrap_scores(labels: Labels, probabilities: Probabilities) -> dict[str, Interval]:
    """Return the interval of each score of `metrics.compute_metrics`, {} for fewer than two images.

    Percentile bootstrap with 1,000 resamples of the images and a fixed seed (Efron & Tibshirani 1993, chapter 13).
    The model is fixed, so the variation between training seeds is not included. macro_f1 of a resample is the mean over
    the classes that it holds.
    """
    if len(labels) < 2:
        return {}
    examples = per_example(labels, probabilities)
    found = {name: mean_interval(examples[name].to_numpy()) for name in ("top1", "top5", "loss")}
    f1 = partial(macro_f1, classes=probabilities.shape[1])
    return {**found, "macro_f1": _bootstrap(f1, labels, probabilities.argmax(axis=1), vectorized=False)}


def mean_interval(values: Values) -> Interval:
    """Return the bootstrap interval of the mean of one value per image; the value itself for a single image."""
    if len(values) < 2:
        return float(values[0]), float(values[0])
    return _bootstrap(np.mean, values, vectorized=True)


def proportion_interval(correct: int, images: int) -> Interval:
    """Return the Wilson interval (1927) of a proportion, for few images: never empty, never beyond 0 or 1."""
    found = binomtest(correct, images).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _bootstrap(statistic: Callable[..., object], *samples: npt.NDArray[np.generic], vectorized: bool) -> Interval:
    found = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=BATCH,
        vectorized=vectorized,
        paired=True,
        method="percentile",  # BCa is undefined if all images are correct
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)
