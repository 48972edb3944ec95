"""A model's predictions of every example of a split, and the tables made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from dogbreed.data.class_names import breed_name, describe_missing_classes
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.evaluation.intervals import proportion_interval
from dogbreed.evaluation.metrics import Labels, Probabilities, classes_without_images, confusion_counts
from dogbreed.evaluation.predict import predict

Indices = npt.NDArray[np.int64]  # positions of examples in the order of the predictions

BOX_FRACTION, BOX_SIDE = "box, fraction of the image", "box, shorter side"
FRACTION_ENDS = (10, 25, 50, 75)  # percent, where groups of boxes end; the last group has no end
SIDE_ENDS = (50, 100, 150, 200, 300)  # pixels of the original image


@dataclass(frozen=True)
class Predictions:
    """Labels and probabilities of every example of a split, in the order of the input pipeline."""

    classes: tuple[str, ...]
    labels: Labels  # [n]
    probabilities: Probabilities  # [n, classes]
    source_ids: tuple[str, ...]  # [n]
    boxes: npt.NDArray[np.float32]  # [n, 4]: left, top, right, bottom, in pixels of the original image
    sizes: npt.NDArray[np.int64]  # [n, 2]: width and height of the original image, pixels

    @cached_property
    def predicted(self) -> Labels:
        """The class of the highest probability, [n]."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The highest probability, [n]."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true one, [n]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def has_boxes(self) -> bool:
        """Whether the images have bounding boxes, see `has_boxes`."""
        return has_boxes(self.boxes, self.sizes)

    @cached_property
    def display_names(self) -> list[str]:
        """The classes without WordNet ids and underscores."""
        return [breed_name(name) for name in self.classes]

    def missing_classes(self, split: str) -> str:
        """Return a sentence about the classes without images, "" if there are none; see `describe_missing_classes`."""
        missing = [self.classes[label] for label in classes_without_images(self.labels, len(self.classes))]
        return describe_missing_classes(missing, len(self.classes), split)

    def hardest(self, count: int) -> Indices:
        """Return the indices of the examples whose true class has the lowest probability, the lowest first."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        return np.argsort(true, kind="stable")[:count]

    def confused_as(self, label: int, other: int) -> Indices:
        """Return the indices of the examples of `label` predicted as `other`, the most confident first."""
        found = np.flatnonzero((self.labels == label) & (self.predicted == other))
        return found[np.argsort(-self.confidence[found], kind="stable")]


def predict_split(
    model: keras.Model, pipeline: InputPipeline, classes: tuple[str, ...], split: str, tta: str
) -> Predictions:
    """Return the model's predictions of all examples of a split; tta: as in `predict`."""
    labels, probabilities, _ = predict(model, pipeline, split, num_images=1, tta=tta)
    boxes, sizes = pipeline.boxes(split)
    return Predictions(classes, labels, probabilities, tuple(pipeline.keys(split)), boxes, sizes)


def has_boxes(boxes: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64]) -> bool:
    """Return whether one of the boxes is not its whole image, the box of an image without annotation.

    boxes, sizes: see `Predictions`.
    """
    return not (np.all(boxes[:, :2] == 0) and np.all(boxes[:, 2:] == sizes))


def per_example_table(predictions: Predictions) -> pd.DataFrame:
    """Return one row per example, the hardest first.

    Columns: source_id, class (name of the true one), predicted (name), probability (of predicted), true_probability.
    """
    order = predictions.hardest(len(predictions.labels))
    names = np.array(predictions.display_names, dtype=object)
    return pd.DataFrame(
        {
            "source_id": [predictions.source_ids[index] for index in order],
            "class": names[predictions.labels[order]],
            "predicted": names[predictions.predicted[order]],
            "probability": predictions.confidence[order],
            "true_probability": predictions.probabilities[order, predictions.labels[order]],
        }
    )


def confusable_pairs(predictions: Predictions) -> pd.DataFrame:
    """Return every pair of classes that were confused with each other, the highest fraction of errors first.

    Columns: class, other_class (names), label, other_label (int), class_as_other, other_as_class (images), images (of
    both) and confused_fraction (of those, predicted as the other class).
    """
    counts = confusion_counts(predictions.labels, predictions.predicted, len(predictions.classes))
    images, both = counts.sum(axis=1), counts + counts.T
    first, second = np.nonzero(np.triu(both, k=1))
    pairs = pd.DataFrame(
        {
            "class": [predictions.display_names[label] for label in first],
            "other_class": [predictions.display_names[label] for label in second],
            "label": first,
            "other_label": second,
            "class_as_other": counts[first, second],
            "other_as_class": counts[second, first],
            "images": images[first] + images[second],
            "confused_fraction": both[first, second] / (images[first] + images[second]),
        }
    )
    order = ["confused_fraction", "class", "other_class"]
    return pairs.sort_values(order, ascending=[False, True, True], ignore_index=True)


def accuracy_by_box_size(predictions: Predictions) -> pd.DataFrame:
    """Return the accuracy by the size of the bounding box: measure, group, images, top1, ci95_low, ci95_high.

    Two measures: the fraction of the image that the box covers, and its shorter side in pixels of the original image.
    ci95_low and ci95_high are the confidence interval of top1 (Wilson); groups without images are omitted.
    """
    left, top, right, bottom = predictions.boxes.T
    fraction = (right - left) * (bottom - top) / predictions.sizes.prod(axis=1)
    measures = {
        BOX_FRACTION: (100 * fraction, FRACTION_ENDS, " %"),
        BOX_SIDE: (np.minimum(right - left, bottom - top), SIDE_ENDS, " px"),
    }
    rows = []
    for measure, (values, ends, unit) in measures.items():
        groups = np.searchsorted(ends, values, side="right")
        for group in np.unique(groups):
            correct = predictions.correct[groups == group]
            interval = proportion_interval(int(correct.sum()), len(correct))
            rows.append((measure, _format_range(ends, group, unit), len(correct), correct.mean(), *interval))
    return pd.DataFrame(rows, columns=["measure", "group", "images", "top1", "ci95_low", "ci95_high"])


def _format_range(ends: tuple[int, ...], group: int, unit: str) -> str:
    if group == 0:
        return f"below {ends[0]}{unit}"
    return f"from {ends[-1]}{unit}" if group == len(ends) else f"{ends[group - 1]} to {ends[group]}{unit}"


def match_by_source_id(predictions: Predictions, other: Predictions) -> tuple[Indices, Indices]:
    """Return the indices of the examples that both have: in `predictions`, and in `other`."""
    positions: Mapping[str, int] = {source_id: index for index, source_id in enumerate(other.source_ids)}
    both = [(i, positions[source_id]) for i, source_id in enumerate(predictions.source_ids) if source_id in positions]
    ours, theirs = np.array(both, dtype=np.int64).reshape(-1, 2).T
    return ours, theirs


def paired_delta(predictions: Predictions, other: Predictions) -> npt.NDArray[np.float64]:
    """Return for each example in both: 1 if only `predictions` is correct, -1 if only `other` is, otherwise 0."""
    ours, theirs = match_by_source_id(predictions, other)
    return np.asarray(predictions.correct[ours].astype(float) - other.correct[theirs])
