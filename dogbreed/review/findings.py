"""What an evaluation has found, as numbers: scores, intervals, floors, parts, and another crop beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from dogbreed.data.dataset import Manifest
from dogbreed.data.leakage import is_listed
from dogbreed.data.pipeline import InputPipeline
from dogbreed.platform.errors import DataContradiction
from dogbreed.review import answers, calibration, intervals, metrics
from dogbreed.review.answers import Answers
from dogbreed.review.intervals import Interval

Scores = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a model on a split of a dataset."""

    model: keras.Model
    manifest: Manifest
    pipeline: InputPipeline
    split: str
    tta: str

    def ask(self, model: keras.Model | None = None, pipeline: InputPipeline | None = None) -> Answers:
        """Return the answers of this model, or another one, to the split of this dataset, or another one."""
        chosen, seen = model or self.model, pipeline or self.pipeline
        return answers.ask(chosen, seen, self.manifest.classes, self.split, self.tta)


@dataclass(frozen=True)
class Against:
    """The same photos of another dataset, cropped otherwise."""

    name: str
    photos: int  # that are in both
    scores: Scores  # of the other dataset's
    gain: float  # top-1 here less top-1 there, on the same photos
    interval: Interval  # of the gain


@dataclass(frozen=True)
class Findings:
    """Everything about one evaluation that is a number."""

    answers: Answers
    scores: Scores
    intervals: dict[str, Interval]
    reliability: pd.DataFrame
    floors: dict[str, Scores]  # majority_baseline and, where ImageNet's weights were given, imagenet_zero_shot
    parts: dict[str, Scores]  # images and, unless there are none, scores
    against: Against | None
    images_per_second: float

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0-1."""
        return calibration.expected_error(self.reliability)

    def flat(self) -> Iterator[tuple[str, float]]:
        """Yield the name and value of each metric of the split: top1, top1_ci95_low, majority_baseline_top1, …"""
        yield from self.scores.items()
        for name, (low, high) in self.intervals.items():
            yield from ((f"{name}_ci95_low", low), (f"{name}_ci95_high", high))
        yield "ece", self.calibration_error
        for group, scores in {**self.floors, **self.parts}.items():
            yield from ((f"{group}_{name}", value) for name, value in scores.items())
        if self.against:
            yield from ((f"other_crop_{name}", value) for name, value in self.against.scores.items())
            low, high = self.against.interval
            yield from (("other_crop_images", self.against.photos), ("delta_top1", self.against.gain))
            yield from (("delta_top1_ci95_low", low), ("delta_top1_ci95_high", high))


def parts(found: Answers, manifest: Manifest, names: frozenset[str]) -> dict[str, Scores]:
    """Return the scores of parts of the photos: those that `names` lists (seen) and the others (unseen).

    Where the dataset kept duplicates of test images in its other splits, also those with such a duplicate
    (with_duplicate) and the others (without_duplicate). A part without photos has no scores.
    """
    chosen: dict[str, npt.NDArray[np.bool_]] = {}
    if names:
        seen = np.array([is_listed(key, names) for key in found.keys])
        chosen |= {"seen": seen, "unseen": ~seen}
    if manifest.config.get("keep_duplicates"):
        copied = _copied(found, manifest)
        chosen |= {"with_duplicate": copied, "without_duplicate": ~copied}
    return {name: _of_part(found, where) for name, where in chosen.items()}


def _copied(found: Answers, manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Return whether each photo has a copy outside its split, bool [n]."""
    photos = [key.partition("#")[0] for key in found.keys]
    inside = set(photos)
    pairs = [(pair.source_id, pair.other) for pair in manifest.duplicates]
    touched = {one for pair in pairs for one, other in (pair, pair[::-1]) if other not in inside}
    return np.array([photo in touched for photo in photos])


def _of_part(found: Answers, where: npt.NDArray[np.bool_]) -> Scores:
    scores = metrics.scores(found.labels[where], found.probabilities[where]) if where.any() else {}
    return {"images": float(where.sum()), **scores}


def compare(found: Answers, other: Answers, name: str) -> Against:
    """Return how the same photos did in another dataset; DataContradiction when no photo is in both."""
    _, theirs = answers.matched(found, other)
    if not len(theirs):
        raise DataContradiction(f"--compare-with {name} holds none of these images; name a dataset of the same source")
    gain = answers.gain(found, other)
    scores = metrics.scores(other.labels[theirs], other.probabilities[theirs])
    return Against(name, len(theirs), scores, float(gain.mean()), intervals.of_mean(gain))
