"""What an evaluation has found, as numbers: scores, intervals, floors, parts, and another crop beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from dogbreed.core.errors import DataError
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.data.near_duplicates import was_seen
from dogbreed.evaluation import calibration, intervals, metrics, predictions
from dogbreed.evaluation.intervals import Interval
from dogbreed.evaluation.predictions import Predictions

Scores = dict[str, float]


@dataclass(frozen=True)
class EvalTarget:
    """What is evaluated: a model on a split of a dataset."""

    model: keras.Model
    manifest: Manifest
    pipeline: InputPipeline
    split: str
    tta: str

    def predict(self, model: keras.Model | None = None, pipeline: InputPipeline | None = None) -> Predictions:
        """Return the answers of this model, or another one, to the split of this dataset, or another one."""
        chosen, seen = model or self.model, pipeline or self.pipeline
        return predictions.predict_split(chosen, seen, self.manifest.classes, self.split, self.tta)


@dataclass(frozen=True)
class CropComparison:
    """The same photos of another dataset, cropped otherwise."""

    name: str
    photos: int  # that are in both
    scores: Scores  # of the other dataset's
    gain: float  # top-1 here less top-1 there, on the same photos
    interval: Interval  # of the gain


@dataclass(frozen=True)
class EvalResult:
    """Everything about one evaluation that is a number."""

    predictions: Predictions
    scores: Scores
    intervals: dict[str, Interval]
    reliability: pd.DataFrame
    baselines: dict[str, Scores]  # majority_baseline and, where ImageNet's weights were given, imagenet_zero_shot
    subsets: dict[str, Scores]  # images and, unless there are none, scores
    comparison: CropComparison | None
    images_per_second: float

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0-1."""
        return calibration.expected_calibration_error(self.reliability)

    def to_metrics(self) -> Iterator[tuple[str, float]]:
        """Yield the name and value of each metric of the split: top1, top1_ci95_low, majority_baseline_top1, …"""
        yield from self.scores.items()
        for name, (low, high) in self.intervals.items():
            yield from ((f"{name}_ci95_low", low), (f"{name}_ci95_high", high))
        yield "ece", self.calibration_error
        for group, scores in {**self.baselines, **self.subsets}.items():
            yield from ((f"{group}_{name}", value) for name, value in scores.items())
        if self.comparison:
            yield from ((f"other_crop_{name}", value) for name, value in self.comparison.scores.items())
            low, high = self.comparison.interval
            yield from (("other_crop_images", self.comparison.photos), ("delta_top1", self.comparison.gain))
            yield from (("delta_top1_ci95_low", low), ("delta_top1_ci95_high", high))


def score_subsets(found: Predictions, manifest: Manifest, names: frozenset[str]) -> dict[str, Scores]:
    """Return the scores of parts of the photos: those that `names` lists (seen) and the others (unseen).

    Where the dataset kept duplicates of test images in its other splits, also those with such a duplicate
    (with_duplicate) and the others (without_duplicate). A part without photos has no scores.
    """
    chosen: dict[str, npt.NDArray[np.bool_]] = {}
    if names:
        seen = np.array([was_seen(key, names) for key in found.keys])
        chosen |= {"seen": seen, "unseen": ~seen}
    if manifest.config.get("keep_duplicates"):
        copied = _copied(found, manifest)
        chosen |= {"with_duplicate": copied, "without_duplicate": ~copied}
    return {name: _score_subset(found, where) for name, where in chosen.items()}


def _copied(found: Predictions, manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Return whether each photo has a copy outside its split, bool [n]."""
    photos = [key.partition("#")[0] for key in found.keys]
    inside = set(photos)
    pairs = [(pair.source_id, pair.other) for pair in manifest.duplicates]
    touched = {one for pair in pairs for one, other in (pair, pair[::-1]) if other not in inside}
    return np.array([photo in touched for photo in photos])


def _score_subset(found: Predictions, where: npt.NDArray[np.bool_]) -> Scores:
    scores = metrics.compute_metrics(found.labels[where], found.probabilities[where]) if where.any() else {}
    return {"images": float(where.sum()), **scores}


def compare(found: Predictions, other: Predictions, name: str) -> CropComparison:
    """Return how the same photos did in another dataset; DataError when no photo is in both."""
    _, theirs = predictions.match_by_key(found, other)
    if not len(theirs):
        raise DataError(f"--compare-with {name} holds none of these images; name a dataset of the same source")
    gain = predictions.paired_gain(found, other)
    scores = metrics.compute_metrics(other.labels[theirs], other.probabilities[theirs])
    return CropComparison(name, len(theirs), scores, float(gain.mean()), intervals.mean_interval(gain))
