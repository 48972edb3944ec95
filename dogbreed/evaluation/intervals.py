"""How far scores would scatter, had other photos of the same kind been drawn: 95 % intervals."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, bootstrap

from dogbreed.evaluation.metrics import Labels, Probabilities, macro_f1, per_example

RESAMPLES = 1000
AT_ONCE = 100  # resamples: 7 MB for 8,580 photos

Interval = tuple[float, float]  # its lower and upper end
Values = npt.NDArray[np.float64]


def bootstrap_scores(labels: Labels, probabilities: Probabilities) -> dict[str, Interval]:
    """Return the interval of each of `metrics.compute_metrics`, {} for fewer than two photos.

    Percentiles of 1,000 resamplings of the photos with a fixed seed (Efron & Tibshirani 1993, chapter 13). The model
    stays the same: how another seed of the training would do is not in them.
    """
    if len(labels) < 2:
        return {}
    photos = per_example(labels, probabilities)
    found = {name: mean_interval(photos[name].to_numpy()) for name in ("top1", "top5", "loss")}
    f1 = partial(macro_f1, classes=probabilities.shape[1])
    return {**found, "macro_f1": _resampled(f1, labels, probabilities.argmax(axis=1), vectorized=False)}


def mean_interval(values: Values) -> Interval:
    """Return the interval of the mean of one value a photo; the value itself for a single photo."""
    if len(values) < 2:
        return float(values[0]), float(values[0])
    return _resampled(np.mean, values, vectorized=True)


def proportion_interval(hits: int, photos: int) -> Interval:
    """Return the interval of a share of few photos, as Wilson 1927 has it: never empty, never beyond 0 or 1."""
    found = binomtest(hits, photos).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _resampled(statistic: Callable[..., object], *samples: npt.NDArray[np.generic], vectorized: bool) -> Interval:
    found = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=AT_ONCE,
        vectorized=vectorized,
        paired=True,
        method="percentile",  # the corrected ones are undefined where all photos are right
        rng=0,
    ).confidence_interval
    return float(found.low), float(found.high)
