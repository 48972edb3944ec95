"""Metrics of a classifier from labels and probabilities: scores of a split and a table of its classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dogbreed.data.class_names import breed_name

Labels = npt.NDArray[np.integer[Any]]
Probabilities = npt.NDArray[np.float32]


def compute_metrics(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return top1, top5, macro_f1 (fractions 0-1), loss and classes_without_images.

    loss is the mean negative log likelihood in nats; classes_without_images is the number of classes that macro_f1
    leaves out.

    Args:
        labels: int [N] in 0..C-1.
        probabilities: [N, C], rows that sum to 1.

    Raises:
        ValueError: no images, or see `validate`.
    """
    means = per_example(labels, probabilities).mean()
    classes = probabilities.shape[1]
    return {
        "top1": float(means["top1"]),
        "top5": float(means["top5"]),
        "macro_f1": macro_f1(labels, probabilities.argmax(axis=1), classes),
        "loss": float(means["loss"]),
        "classes_without_images": float(len(classes_without_images(labels, classes))),
    }


def classes_without_images(labels: Labels, classes: int) -> Labels:
    """Return the labels in 0..classes-1 that none of the images has, in ascending order."""
    return np.flatnonzero(np.bincount(labels, minlength=classes) == 0)


def per_example(labels: Labels, probabilities: Probabilities) -> pd.DataFrame:
    """Return one row per example: top1, top5 (0.0 or 1.0) and loss (nats), whose means are the scores.

    Of equal probabilities the first class ranks first, as in argmax. Raises as `compute_metrics`.
    """
    labels, probabilities = _require_nonempty(*validate(labels, probabilities))
    # Not top_k_accuracy_score: it breaks ties from the last class on, so that top5 could fall below top1.
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    rank = np.argmax(ranked == labels[:, np.newaxis], axis=1)
    true = np.take_along_axis(probabilities, labels[:, np.newaxis], axis=1)[:, 0]
    # clipped at 1.2e-7 (15.9 nats); Keras clips at 1e-7, so the two losses agree
    loss = -np.log(np.maximum(true, np.finfo(np.float32).eps), dtype=np.float64)
    return pd.DataFrame({"top1": (rank == 0).astype(float), "top5": (rank < 5).astype(float), "loss": loss})


def macro_f1(labels: Labels, predicted: Labels, classes: int) -> float:
    """Return the mean F1 of the classes that have images.

    A class without images is left out even if it is predicted, so that the mean is over the same classes for every
    model; such a prediction lowers the recall of the true class. scikit-learn computes the same by
    `f1_score(labels=unique(labels), average="macro")`, and `balanced_accuracy_score` has the same rule. The default
    of `f1_score` also counts a class that is only predicted, as 0 (https://scikit-learn.org/stable/modules/generated/
    sklearn.metrics.f1_score.html, parameter `labels`).
    """
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    images = np.bincount(labels, minlength=classes)
    both = images + np.bincount(predicted, minlength=classes)
    found = images > 0
    return float(np.mean(2 * hits[found] / both[found]))


def per_class(labels: Labels, probabilities: Probabilities, classes: Sequence[str]) -> pd.DataFrame:
    """Return one row per class, in class order, of how well its images are recognised.

    Columns: class (name), images (int), precision, recall, f1 (fractions 0-1; precision is 0 for a class that is never
    predicted), most_confused_with (name of the class that its images are most often mistaken for, or ""), confused
    (int, how many of them). A class without images has NaN as precision, recall and f1, so that the means of these
    columns are macro averages, see `macro_f1`. Raises as `compute_metrics`.
    """
    from sklearn.metrics import precision_recall_fscore_support  # importing it takes a second

    labels, probabilities = _require_nonempty(*validate(labels, probabilities, classes))
    predicted = probabilities.argmax(axis=1)
    every_class = np.arange(len(classes))
    precision, recall, f1, images = precision_recall_fscore_support(
        labels, predicted, labels=every_class, zero_division=0
    )
    scores = np.where(images > 0, (precision, recall, f1), np.nan)
    mistakes = confusion_counts(labels, predicted, len(classes))
    np.fill_diagonal(mistakes, 0)
    confused = mistakes.max(axis=1)
    names = [breed_name(name) for name in classes]
    mistaken_for = [
        names[other] if times else "" for other, times in zip(mistakes.argmax(axis=1), confused, strict=True)
    ]
    columns = {"class": names, "images": images, **dict(zip(("precision", "recall", "f1"), scores, strict=True))}
    return pd.DataFrame({**columns, "most_confused_with": mistaken_for, "confused": confused})


def confusion_counts(labels: Labels, predicted: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Return int64 [classes, classes]: images by true class (row) and predicted class (column)."""
    from sklearn.metrics import confusion_matrix

    if not len(labels):  # scikit-learn refuses an empty array, but an empty split has a figure, too
        return np.zeros((classes, classes), dtype=np.int64)
    counts = confusion_matrix(labels, predicted, labels=np.arange(classes))
    return np.asarray(counts, dtype=np.int64)


def validate(
    labels: Labels, probabilities: Probabilities, classes: Sequence[str] | None = None
) -> tuple[Labels, Probabilities]:
    """Return labels as int64 [N] and probabilities as float32 [N, C].

    Raises:
        ValueError: shapes that do not match, fewer than two classes, a label outside 0..C-1, a value that is not
            finite or not in 0-1, or a number of class names other than C.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float32)
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise ValueError(f"found labels {labels.shape} and probabilities {probabilities.shape}; pass [N] and [N, C]")
    count = probabilities.shape[1]
    if count < 2 or (classes is not None and len(classes) != count):
        names = "" if classes is None else f" and {len(classes)} class names"
        raise ValueError(f"found {count} columns of probabilities{names}; pass one for each of 2+ classes")
    if not np.all((probabilities >= 0) & (probabilities <= 1)):  # false for NaN and infinities too
        raise ValueError("found probabilities that are not finite or not in 0-1; pass softmax, not logits")
    if len(labels) and (labels.dtype.kind not in "iu" or np.min(labels) < 0 or np.max(labels) >= count):
        raise ValueError(f"found labels that are not integers in 0..{count - 1}; pass those of these classes")
    return labels.astype(np.int64), probabilities


def _require_nonempty(labels: Labels, probabilities: Probabilities) -> tuple[Labels, Probabilities]:
    if not len(labels):
        raise ValueError("found no images to score; evaluate a split that has some")
    return labels, probabilities
