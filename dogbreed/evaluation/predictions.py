"""A model's answers to every photo of a split, and what can be seen in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.evaluation.intervals import proportion_interval
from dogbreed.evaluation.metrics import Labels, Probabilities, breed_name, confusion_counts
from dogbreed.evaluation.predict import predict

Indices = npt.NDArray[np.int64]  # positions of photos in the order of the answers

BOX_FRACTION, BOX_SIDE = "box, share of the photo", "box, shorter side"
PERCENT = (10, 25, 50, 75)  # where groups of boxes end; the last one has no end
SIDES = (50, 100, 150, 200, 300)  # pixels of the original photo


@dataclass(frozen=True)
class Predictions:
    """What a model says to every record of a split, in the order of the input pipeline."""

    classes: tuple[str, ...]
    labels: Labels  # [n]
    probabilities: Probabilities  # [n, classes]
    keys: tuple[str, ...]  # [n]
    boxes: npt.NDArray[np.float32]  # [n, 4]: left, top, right, bottom, in pixels of the original photo
    sizes: npt.NDArray[np.int64]  # [n, 2]: width and height of the original photo, pixels

    @cached_property
    def predicted(self) -> Labels:
        """The class of the highest probability, [n]."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The highest probability, [n]."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true one, [n]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def names(self) -> list[str]:
        """The classes as people call them."""
        return [breed_name(name) for name in self.classes]

    def hardest(self, count: int) -> Indices:
        """Return the places of the photos whose true breed was found least probable, the worst first."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return np.argsort(true, kind="stable")[:count]

    def confused_as(self, label: int, other: int) -> Indices:
        """Return the places of the photos of `label` that were taken for `other`, the surest answer first."""
        found = np.flatnonzero((self.labels == label) & (self.predicted == other))
        return found[np.argsort(-self.confidence[found], kind="stable")]


def predict_split(
    model: keras.Model, pipeline: InputPipeline, classes: tuple[str, ...], split: str, tta: str
) -> Predictions:
    """Return the model's predictions of all examples of a split; tta: as in `predict`."""
    labels, probabilities, _ = predict(model, pipeline, split, keep=1, tta=tta)
    boxes, sizes = pipeline.boxes(split)
    return Predictions(classes, labels, probabilities, tuple(pipeline.keys(split)), boxes, sizes)


def per_example_table(predictions: Predictions) -> pd.DataFrame:
    """Return a row a photo, the hardest first: key, breed, predicted, probability (of predicted), true_probability."""
    order = predictions.hardest(len(predictions.labels))
    named = np.array(predictions.names, dtype=object)
    return pd.DataFrame(
        {
            "key": [predictions.keys[place] for place in order],
            "breed": named[predictions.labels[order]],
            "predicted": named[predictions.predicted[order]],
            "probability": predictions.confidence[order],
            "true_probability": predictions.probabilities[order, predictions.labels[order]],
        }
    )


def confusable_pairs(predictions: Predictions) -> pd.DataFrame:
    """Return every pair of breeds that were taken for one another, the one with the largest share of errors first.

    Columns: breed, other (names), label, other_label (int), breed_as_other, other_as_breed (photos), photos (of both)
    and share (of those, taken for the other breed).
    """
    counts = confusion_counts(predictions.labels, predictions.predicted, len(predictions.classes))
    photos, both = counts.sum(axis=1), counts + counts.T
    first, second = np.nonzero(np.triu(both, k=1))
    found = pd.DataFrame(
        {
            "breed": [predictions.names[label] for label in first],
            "other": [predictions.names[label] for label in second],
            "label": first,
            "other_label": second,
            "breed_as_other": counts[first, second],
            "other_as_breed": counts[second, first],
            "photos": photos[first] + photos[second],
            "share": both[first, second] / (photos[first] + photos[second]),
        }
    )
    return found.sort_values(["share", "breed", "other"], ascending=[False, True, True], ignore_index=True)


def accuracy_by_box_size(predictions: Predictions) -> pd.DataFrame:
    """Return the accuracy of photos by how large the dog's box is: measure, group, images, top1, ci95_low, ci95_high.

    Two measures: the share of the photo that the box covers, and its shorter side in pixels of the original photo.
    ci95_low and ci95_high are the interval of top1; groups without images are left out.
    """
    left, top, right, bottom = predictions.boxes.T
    share = (right - left) * (bottom - top) / predictions.sizes.prod(axis=1)
    measures = {
        BOX_FRACTION: (100 * share, PERCENT, " %"),
        BOX_SIDE: (np.minimum(right - left, bottom - top), SIDES, " px"),
    }
    rows = []
    for measure, (values, ends, unit) in measures.items():
        groups = np.searchsorted(ends, values, side="right")
        for group in np.unique(groups):
            hits = predictions.hits[groups == group]
            interval = proportion_interval(int(hits.sum()), len(hits))
            rows.append((measure, _between(ends, group, unit), len(hits), hits.mean(), *interval))
    return pd.DataFrame(rows, columns=["measure", "group", "images", "top1", "ci95_low", "ci95_high"])


def _between(ends: tuple[int, ...], group: int, unit: str) -> str:
    if group == 0:
        return f"below {ends[0]}{unit}"
    return f"from {ends[-1]}{unit}" if group == len(ends) else f"{ends[group - 1]} to {ends[group]}{unit}"


def majority_baseline(labels: Labels, classes: int) -> dict[str, float]:
    """Return the scores of who answers every photo alike, knowing how many photos each breed has: the lowest floor.

    top1 and top5 name the most frequent breeds, loss is the entropy of the breeds' shares (nats).
    """
    shares = np.sort(np.bincount(labels, minlength=classes) / len(labels))[::-1]
    some = shares[shares > 0]
    return {"top1": float(shares[0]), "top5": float(shares[:5].sum()), "loss": float(-(some * np.log(some)).sum())}


def match_by_key(predictions: Predictions, other: Predictions) -> tuple[Indices, Indices]:
    """Return where the same photos stand in both: the places in `predictions`, and in `other`."""
    places: Mapping[str, int] = {key: place for place, key in enumerate(other.keys)}
    both = [(place, places[key]) for place, key in enumerate(predictions.keys) if key in places]
    ours, theirs = np.array(both, dtype=np.int64).reshape(-1, 2).T
    return ours, theirs


def paired_gain(predictions: Predictions, other: Predictions) -> npt.NDArray[np.float64]:
    """Return for each photo that both know: 1 where only `predictions` are right, -1 where only `other` are, else 0."""
    ours, theirs = match_by_key(predictions, other)
    return np.asarray(predictions.hits[ours].astype(float) - other.hits[theirs])
