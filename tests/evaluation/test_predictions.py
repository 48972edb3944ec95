"""Tables of a model's predictions, on five images."""

import numpy as np
import pytest

from dogbreed.evaluation import predictions
from dogbreed.evaluation.predictions import Predictions

CLASSES = ("n02088364-Beagle", "n02110958-Pug", "n02109047-Great_Dane")
# two beagles, one predicted as a pug; two pugs, one predicted as a beagle; a Great Dane
LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.7, 0.2], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]], dtype=np.float32
)
BOXES = np.array([[0, 0, 100, 50], [0, 0, 10, 10], [10, 10, 50, 70], [0, 0, 400, 300], [5, 0, 55, 300]])


def predict_five(source_ids: str = "abcde") -> Predictions:
    sizes = np.array([[100, 100], [100, 100], [100, 100], [400, 300], [400, 300]])
    return Predictions(CLASSES, LABELS, PROBABILITIES, tuple(source_ids), BOXES.astype(np.float32), sizes)


def test_the_hardest_examples_have_the_lowest_probability_of_their_class() -> None:
    assert predict_five().hardest(3).tolist() == [3, 1, 4]
    assert predict_five().hardest(99).tolist() == [3, 1, 4, 2, 0]


def test_the_table_has_one_row_per_example_the_hardest_first() -> None:
    table = predictions.per_example_table(predict_five())
    assert table["source_id"].tolist() == ["d", "b", "e", "c", "a"]
    assert table.iloc[0].to_list() == ["d", "Pug", "Beagle", pytest.approx(0.9), pytest.approx(0.05)]


def test_a_pair_counts_errors_both_ways() -> None:
    (pair,) = predictions.confusable_pairs(predict_five()).to_dict("records")
    assert (pair["class"], pair["other_class"], pair["class_as_other"], pair["other_as_class"]) == (
        "Beagle",
        "Pug",
        1,
        1,
    )
    assert (pair["images"], pair["confused_fraction"]) == (4, 0.5)
    assert predict_five().confused_as(0, 1).tolist() == [1]
    assert predict_five().confused_as(1, 0).tolist() == [3]


def test_the_most_confident_error_comes_first() -> None:
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.3, 0.7]], dtype=np.float32)
    found = Predictions(("a", "b"), np.zeros(3, int), probabilities, tuple("abc"), BOXES[:3], np.ones((3, 2), int))
    assert found.confused_as(0, 1).tolist() == [1, 2, 0]


def test_a_box_of_the_whole_image_is_none() -> None:
    sizes = np.array([[100, 80], [40, 30]])
    whole = np.array([[0, 0, 100, 80], [0, 0, 40, 30]], np.float32)
    assert predict_five().has_boxes
    assert not predictions.has_boxes(whole, sizes)
    assert predictions.has_boxes(whole - np.array([0, 0, 1, 0], np.float32), sizes)


def test_accuracy_is_grouped_by_the_boxs_fraction_of_the_image_and_by_its_shorter_side() -> None:
    table = predictions.accuracy_by_box_size(predict_five())
    rows = {(row["measure"], row["group"]): (row["images"], row["top1"]) for row in table.to_dict("records")}
    assert rows == {
        (predictions.BOX_FRACTION, "below 10 %"): (1, 0.0),  # 100 of 10,000
        (predictions.BOX_FRACTION, "10 to 25 %"): (2, 1.0),  # 2,400 of 10,000 and 15,000 of 120,000
        (predictions.BOX_FRACTION, "50 to 75 %"): (1, 1.0),  # half belongs to the larger group
        (predictions.BOX_FRACTION, "from 75 %"): (1, 0.0),
        (predictions.BOX_SIDE, "below 50 px"): (2, 0.5),
        (predictions.BOX_SIDE, "50 to 100 px"): (2, 1.0),
        (predictions.BOX_SIDE, "from 300 px"): (1, 0.0),
    }
    assert ((table["ci95_low"] <= table["top1"]) & (table["top1"] <= table["ci95_high"])).all()


def test_the_same_examples_are_matched_by_source_id_in_any_order() -> None:
    ours, theirs = predictions.match_by_source_id(predict_five(), predict_five("xyzab"))
    assert (ours.tolist(), theirs.tolist()) == ([0, 1], [3, 4])
    assert predictions.paired_delta(predict_five(), predict_five("xyzab")).tolist() == [
        1.0,
        -1.0,
    ]  # a is correct here only, b there only


def test_datasets_without_a_common_example_have_no_matches() -> None:
    assert predictions.paired_delta(predict_five(), predict_five("vwxyz")).tolist() == []
