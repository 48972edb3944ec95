"""95 % confidence intervals: known ones, and their coverage."""

import numpy as np
import pytest

from dogbreed.evaluation import intervals
from dogbreed.evaluation.metrics import compute_metrics


def test_the_interval_of_a_constant_has_no_width() -> None:
    assert intervals.mean_interval(np.ones(50)) == (1.0, 1.0)
    assert intervals.mean_interval(np.array([0.25])) == (0.25, 0.25)


def test_the_interval_of_a_proportion_is_that_of_the_normal_distribution() -> None:
    correct = np.repeat([1.0, 0.0], [300, 100])
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)  # 4.2 points
    assert intervals.mean_interval(correct) == pytest.approx((0.75 - half, 0.75 + half), abs=0.005)


def test_95_of_100_intervals_contain_the_true_mean() -> None:
    random = np.random.default_rng(0)
    found = [intervals.mean_interval((random.random(150) < 0.6).astype(float)) for _ in range(200)]
    assert 0.91 <= np.mean([low <= 0.6 <= high for low, high in found]) <= 0.99


def test_every_score_lies_in_its_interval_which_is_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(6), 200).astype(np.float32)
    labels = np.where(random.random(200) < 0.5, probabilities.argmax(axis=1), random.integers(0, 6, 200))
    found = intervals.bootstrap_scores(labels, probabilities)
    assert found == intervals.bootstrap_scores(labels, probabilities)
    assert found.keys() == {"top1", "top5", "macro_f1", "loss"}
    scores = compute_metrics(labels, probabilities)
    for name, (low, high) in found.items():
        assert low < scores[name] < high


def test_a_perfect_model_has_a_macro_f1_of_one_in_every_resample() -> None:
    perfect = np.eye(5, dtype=np.float32)[[0, 0, 1, 2]]  # classes 3 and 4 have no image, a resample may lack others
    assert intervals.bootstrap_scores(np.array([0, 0, 1, 2]), perfect)["macro_f1"] == (1, 1)


def test_one_image_has_no_intervals() -> None:
    assert intervals.bootstrap_scores(np.array([0]), np.array([[0.5, 0.5]], dtype=np.float32)) == {}


@pytest.mark.parametrize(
    ("correct", "images", "ends"),
    [(0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (5, 10, (0.2366, 0.7634))],  # Wilson's, as in R's prop.test
)
def test_the_interval_of_a_proportion_stays_in_0_to_1(correct: int, images: int, ends: tuple[float, float]) -> None:
    assert intervals.proportion_interval(correct, images) == pytest.approx(ends, abs=1e-4)
