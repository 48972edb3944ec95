"""What is seen in a model's answers, on a handful of photos."""

import numpy as np
import pytest

from dogbreed.evaluation import predictions
from dogbreed.evaluation.predictions import Predictions

CLASSES = ("n02088364-Beagle", "n02110958-Pug", "n02109047-Great_Dane")
# two beagles of which one is taken for a pug, two pugs of which one is taken for a beagle, a Great Dane
LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.7, 0.2], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]], dtype=np.float32
)
BOXES = np.array([[0, 0, 100, 50], [0, 0, 10, 10], [10, 10, 50, 70], [0, 0, 400, 300], [5, 0, 55, 300]])


def five(keys: str = "abcde") -> Predictions:
    sizes = np.array([[100, 100], [100, 100], [100, 100], [400, 300], [400, 300]])
    return Predictions(CLASSES, LABELS, PROBABILITIES, tuple(keys), BOXES.astype(np.float32), sizes)


def test_the_hardest_photos_are_those_whose_breed_was_found_least_probable() -> None:
    assert five().hardest(3).tolist() == [3, 1, 4]
    assert five().hardest(99).tolist() == [3, 1, 4, 2, 0]


def test_the_table_has_a_row_a_photo_with_the_hardest_first() -> None:
    table = predictions.per_example_table(five())
    assert table["key"].tolist() == ["d", "b", "e", "c", "a"]
    assert table.iloc[0].to_list() == ["d", "Pug", "Beagle", pytest.approx(0.9), pytest.approx(0.05)]


def test_a_pair_counts_errors_both_ways() -> None:
    (pair,) = predictions.confusable_pairs(five()).to_dict("records")
    assert (pair["breed"], pair["other"], pair["breed_as_other"], pair["other_as_breed"]) == ("Beagle", "Pug", 1, 1)
    assert (pair["photos"], pair["share"]) == (4, 0.5)
    assert five().confused_as(0, 1).tolist() == [1]
    assert five().confused_as(1, 0).tolist() == [3]


def test_the_surest_answer_comes_first() -> None:
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.3, 0.7]], dtype=np.float32)
    found = Predictions(("a", "b"), np.zeros(3, int), probabilities, tuple("abc"), BOXES[:3], np.ones((3, 2), int))
    assert found.confused_as(0, 1).tolist() == [1, 2, 0]


def test_accuracy_is_told_by_the_boxs_share_of_the_photo_and_by_its_shorter_side() -> None:
    table = predictions.accuracy_by_box_size(five())
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


def test_the_majority_is_the_floor_of_who_answers_always_the_same() -> None:
    floor = predictions.majority_baseline(np.array([0, 0, 0, 1]), 8)
    assert (floor["top1"], floor["top5"]) == (0.75, 1.0)
    assert floor["loss"] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def test_the_same_photos_are_matched_by_their_keys_whatever_their_order() -> None:
    ours, theirs = predictions.match_by_key(five(), five("xyzab"))
    assert (ours.tolist(), theirs.tolist()) == ([0, 1], [3, 4])
    assert predictions.paired_gain(five(), five("xyzab")).tolist() == [1.0, -1.0]  # a is right here only, b there only


def test_photos_that_have_nothing_in_common_are_not_matched() -> None:
    assert predictions.paired_gain(five(), five("vwxyz")).tolist() == []
