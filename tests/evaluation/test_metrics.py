"""Metrics on cases small enough to compute by hand."""

from math import log

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from dogbreed.data.class_names import breed_name
from dogbreed.evaluation.metrics import compute_metrics, confusion_counts, per_class, validate

CLASSES = ["n02085620-Chihuahua", "n02088466-black-and-tan_coonhound", "n02110958-pug"]
LABELS = np.array([0, 0, 1, 2])
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.25, 0.25, 0.5]], dtype=np.float32
)  # right, wrong (1 for 0), right, right


def test_scores_are_those_computed_by_hand() -> None:
    assert compute_metrics(LABELS, PROBABILITIES) == pytest.approx(
        {
            "top1": 3 / 4,
            "top5": 1.0,
            "macro_f1": (2 / 3 + 2 / 3 + 1) / 3,
            "loss": -(log(0.7) + log(0.1) + log(0.5) + log(0.5)) / 4,
            "classes_without_images": 0,
        },
        rel=1e-6,
    )


def test_top5_counts_a_label_in_fifth_place_and_not_one_in_sixth() -> None:
    row = np.array([0.3, 0.25, 0.2, 0.1, 0.08, 0.07], dtype=np.float32)
    assert compute_metrics(np.array([4, 5]), np.stack([row, row]))["top5"] == 0.5


def test_equal_probabilities_rank_the_first_classes_first_in_top1_and_in_top5() -> None:
    uniform = np.full((10, 10), 0.1, dtype=np.float32)
    found = compute_metrics(np.arange(10), uniform)
    assert (found["top1"], found["top5"]) == (0.1, 0.5)


def test_a_uniform_guess_over_120_classes_costs_log_120_nats() -> None:
    uniform = np.full((3, 120), 1 / 120, dtype=np.float32)
    assert compute_metrics(np.array([0, 60, 119]), uniform)["loss"] == pytest.approx(log(120), rel=1e-5)


def test_a_certain_error_costs_a_finite_loss() -> None:
    loss = compute_metrics(np.array([0]), np.array([[0, 1]], dtype=np.float32))["loss"]
    assert loss == pytest.approx(-log(np.finfo(np.float32).eps), rel=1e-5)


def test_macro_f1_is_over_classes_with_images_and_has_the_number_of_others_beside_it() -> None:
    perfect = np.eye(4, dtype=np.float32)[[0, 1]]
    found = compute_metrics(np.array([0, 1]), perfect)
    assert (found["macro_f1"], found["classes_without_images"]) == (1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_macro_averages_are_those_of_scikit_learn_over_the_classes_with_images(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, probabilities = random.integers(0, 4, 12), random.dirichlet(np.ones(8), 12).astype(np.float32)
    predicted = probabilities.argmax(axis=1)
    assert set(predicted) - set(labels)  # a class that is only predicted
    f1 = f1_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert compute_metrics(labels, probabilities)["macro_f1"] == pytest.approx(f1)
    table = per_class(labels, probabilities, [f"c{label}" for label in range(8)])
    assert table["f1"].mean() == pytest.approx(f1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert table["recall"].mean() == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_two_classes_score_like_any_other_number() -> None:
    found = compute_metrics(np.array([0, 1]), np.array([[0.75, 0.25], [0.75, 0.25]], dtype=np.float32))
    assert found == pytest.approx(
        {
            "top1": 0.5,
            "top5": 1.0,
            "macro_f1": 1 / 3,
            "loss": -(log(0.75) + log(0.25)) / 2,
            "classes_without_images": 0,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"labels \(2,\) and probabilities \(1, 2\)"),
        ([[0]], [[0.5, 0.5]], r"labels \(1, 1\)"),
        ([0], [0.5], r"probabilities \(1,\)"),
        ([0], [[1.0]], "1 columns"),
        ([0], [[np.nan, 0.5]], "not finite"),
        ([0], [[np.inf, 0.5]], "not finite"),
        ([0], [[-1.5, 2.5]], "logits"),
        ([2], [[0.5, 0.5]], r"integers in 0\.\.1"),
        ([-1], [[0.5, 0.5]], r"integers in 0\.\.1"),
        ([0.5], [[0.5, 0.5]], r"integers in 0\.\.1"),
        (np.zeros(0, int), np.zeros((0, 2)), "no images"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels: object, probabilities: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_metrics(np.array(labels), np.array(probabilities))


def test_another_number_of_class_names_is_refused() -> None:
    with pytest.raises(ValueError, match="3 columns of probabilities and 2 class names"):
        per_class(LABELS, PROBABILITIES, CLASSES[:2])


def test_validate_returns_int64_and_float32() -> None:
    labels, probabilities = validate(LABELS.astype(np.uint8), PROBABILITIES.astype(np.float64))
    assert (labels.dtype.name, probabilities.dtype.name) == ("int64", "float32")


def test_the_table_has_one_row_per_class_in_class_order() -> None:
    table = per_class(LABELS, PROBABILITIES, CLASSES)
    assert table.drop(columns="f1").to_dict("list") == {
        "class": ["Chihuahua", "black-and-tan coonhound", "pug"],
        "images": [2, 1, 1],
        "precision": [1.0, 0.5, 1.0],
        "recall": [0.5, 1.0, 1.0],
        "most_confused_with": ["black-and-tan coonhound", "", ""],
        "confused": [1, 0, 0],
    }
    assert table["f1"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])


def test_the_class_most_confused_with_is_the_one_most_often_predicted_instead() -> None:
    predicted = np.eye(3, dtype=np.float32)[[1, 2, 2, 0]]
    table = per_class(np.zeros(4, int), predicted, CLASSES)
    assert (table["most_confused_with"][0], table["confused"][0]) == ("pug", 2)


def test_a_class_without_images_has_no_scores_whether_it_is_predicted_or_not() -> None:
    table = per_class(np.array([0, 0]), np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32), CLASSES)
    assert table["images"].to_list() == [2, 0, 0]
    assert table[["precision", "recall", "f1"]].isna().all(axis=1).to_list() == [False, True, True]
    assert (table["most_confused_with"][0], table["confused"][0]) == ("black-and-tan coonhound", 1)


def test_confusion_counts_have_true_classes_in_rows() -> None:
    assert confusion_counts(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist() == [[0, 2], [0, 1]]


def test_confusion_counts_of_no_images_are_zeros() -> None:
    assert confusion_counts(np.zeros(0, int), np.zeros(0, int), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("class_name", "breed"),
    [
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02088466-black-and-tan_coonhound", "black-and-tan coonhound"),
        ("n02098105-soft-coated_wheaten_terrier", "soft-coated wheaten terrier"),
        ("wire-haired_dog", "wire-haired dog"),
        ("n123-dog", "n123-dog"),
        ("my-n02085620-dog", "my-n02085620-dog"),
        ("automobile", "automobile"),
    ],
)
def test_a_breed_name_loses_its_synset_and_its_underscores(class_name: str, breed: str) -> None:
    assert breed_name(class_name) == breed
