"""An evaluation: what is evaluated, and its result as numbers and tables."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import pandas as pd

from dogbreed.core.errors import DataError
from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import calibration, intervals, metrics, predictions
from dogbreed.evaluation.baselines import majority_baseline
from dogbreed.evaluation.intervals import Interval
from dogbreed.evaluation.predictions import Predictions
from dogbreed.evaluation.score_groups import ScoreGroup, Scores
from dogbreed.evaluation.subsets import score_subsets


@dataclass(frozen=True)
class TrainingLineage:
    """The training run of a model: id, parameters, metrics, tags, and its learning curves as PNG if there are any."""

    run_id: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    learning_curves: bytes | None

    @property
    def weights(self) -> str:
        """The initial weights; "none" for random ones."""
        return self.params.get("weights", "none")


@dataclass(frozen=True)
class EvalTarget:
    """What is evaluated: a model on a split of a dataset."""

    model: keras.Model
    manifest: Manifest
    pipeline: InputPipeline
    split: str
    tta: str  # test-time augmentation, see `predict`
    duplicates: tuple[DuplicateGroup, ...] = ()  # of the dataset

    def predict(self, model: keras.Model | None = None, pipeline: InputPipeline | None = None) -> Predictions:
        """Return the predictions on the split, of this model and dataset unless others are given."""
        model, pipeline = model or self.model, pipeline or self.pipeline
        return predictions.predict_split(model, pipeline, self.manifest.classes, self.split, self.tta)


@dataclass(frozen=True)
class OtherCrop:
    """The same images in another dataset, cropped in another way."""

    name: str  # for the report
    pipeline: InputPipeline


@dataclass(frozen=True)
class CropComparison:
    """Scores of the same images with another crop."""

    name: str
    images: int  # that are in both datasets
    scores: Scores  # with the other crop
    delta: float  # top-1 of this dataset minus top-1 with the other crop, on these images
    interval: Interval  # of delta


@dataclass(frozen=True)
class EvalResult:
    """All numbers of an evaluation."""

    predictions: Predictions
    scores: Scores
    intervals: dict[str, Interval]
    reliability: pd.DataFrame
    baselines: dict[ScoreGroup, Scores]
    subsets: dict[ScoreGroup, Scores]
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
            yield from (("other_crop_images", self.comparison.images), ("delta_top1", self.comparison.delta))
            yield from (("delta_top1_ci95_low", low), ("delta_top1_ci95_high", high))

    def describe_baseline(self) -> str:
        """Return that top-1 is not significantly above the majority baseline; "" if it is."""
        low, high = self.intervals.get("top1", (self.scores["top1"], self.scores["top1"]))
        baseline = self.baselines[ScoreGroup.MAJORITY_BASELINE]["top1"]
        if low > baseline:
            return ""
        return (
            f"top-1 {self.scores['top1']:.1%} (95 % CI {low:.1%} to {high:.1%}) is not significantly better than to "
            f"predict always the most frequent class ({baseline:.1%})"
        )

    def to_tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of the split by name; `by_box` only if the images have bounding boxes."""
        found = self.predictions
        by_box = {"by_box": predictions.accuracy_by_box_size(found)} if found.has_boxes else {}
        return {
            "per_class": metrics.per_class(found.labels, found.probabilities, found.classes),
            "predictions": predictions.per_example_table(found),
            "confusable_pairs": predictions.confusable_pairs(found),
            **by_box,
            "reliability": self.reliability,
        }


def evaluate(
    target: EvalTarget,
    pretraining_list: frozenset[str] = frozenset(),
    baseline: keras.Model | None = None,
    other_crop: OtherCrop | None = None,
) -> EvalResult:
    """Return the scores of a model with their confidence intervals, baselines, subsets and a comparison of crops.

    Args:
        pretraining_list: names of images that a pretraining may have seen, see `subsets.parse_image_list`.
        baseline: the zero-shot classifier.
        other_crop: the same images in another dataset.
    """
    start_time = time.monotonic()
    found = target.predict()
    images_per_second = len(found.labels) / (time.monotonic() - start_time)
    baselines = {ScoreGroup.MAJORITY_BASELINE: majority_baseline(found.labels, len(found.classes))}
    if baseline:
        zero_shot = target.predict(model=baseline)
        baselines[ScoreGroup.IMAGENET_ZERO_SHOT] = metrics.compute_metrics(zero_shot.labels, zero_shot.probabilities)
    comparison = None
    if other_crop:
        comparison = compare_crops(found, target.predict(pipeline=other_crop.pipeline), other_crop.name)
    return EvalResult(
        predictions=found,
        scores=metrics.compute_metrics(found.labels, found.probabilities),
        intervals=intervals.bootstrap_scores(found.labels, found.probabilities),
        reliability=calibration.reliability_table(found.confidence, found.correct),
        baselines=baselines,
        subsets=score_subsets(found, target.manifest, pretraining_list, target.duplicates),
        comparison=comparison,
        images_per_second=images_per_second,
    )


def compare_crops(found: Predictions, other: Predictions, name: str) -> CropComparison:
    """Compare predictions on the images that both datasets have; DataError if there are none."""
    _, theirs = predictions.match_by_source_id(found, other)
    if not len(theirs):
        raise DataError(f"--compare-with {name} holds none of these images; name a dataset of the same source")
    delta = predictions.paired_delta(found, other)
    scores = metrics.compute_metrics(other.labels[theirs], other.probabilities[theirs])
    return CropComparison(name, len(theirs), scores, float(delta.mean()), intervals.mean_interval(delta))
