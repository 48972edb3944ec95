"""The calibration error on cases that can be computed by hand."""

import numpy as np
import pytest

from dogbreed.evaluation.calibration import BINS, expected_calibration_error, reliability_table


def test_the_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    table = reliability_table(np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False]))
    filled = table[table["images"] > 0]
    assert filled["images"].tolist() == [2, 2]
    assert filled["confidence"].tolist() == pytest.approx([0.55, 0.95])
    assert filled["accuracy"].tolist() == [0.5, 1.0]
    assert expected_calibration_error(table) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)


def test_bins_are_weighted_by_their_images() -> None:
    table = reliability_table(np.array([1.0, 1.0, 1.0, 0.5]), np.array([True, True, True, False]))
    assert expected_calibration_error(table) == pytest.approx(0.5 / 4)


def test_every_confidence_has_a_bin_and_the_bins_cover_0_to_1() -> None:
    confidence = np.linspace(0, 1, 1001, dtype=np.float32)
    table = reliability_table(confidence, confidence > 0.5)
    assert (len(table), table["images"].sum()) == (BINS, 1001)
    assert (table["low"].iloc[0], table["high"].iloc[-1]) == (0, 1)
    assert table["high"].iloc[:-1].tolist() == table["low"].iloc[1:].tolist()


def test_a_calibrated_model_has_hardly_an_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.random(20_000)
    correct = random.random(20_000) < confidence
    assert expected_calibration_error(reliability_table(confidence, correct)) < 0.02
    assert expected_calibration_error(reliability_table(confidence, random.random(20_000) < confidence**2)) > 0.1


def test_an_empty_bin_has_no_accuracy() -> None:
    assert np.isnan(reliability_table(np.array([0.99]), np.array([True]))["accuracy"].iloc[0])
