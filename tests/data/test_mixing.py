"""MixUp and erasing: what they change, by how much, the same eagerly and inside tf.data, a function of the seed."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import UsageError
from dogbreed.data.augment import Augment, erase, mixup

PHOTOS = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8))
TARGETS = tf.eye(8)


def in_graph(function: Callable[[], tf.Tensor]) -> np.ndarray:
    found = tf.data.Dataset.range(1).map(lambda _: function())
    return np.asarray(next(found.as_numpy_iterator()))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mixup_blends_pixels_and_targets_by_one_share(seed: int) -> None:
    own = tf.constant([seed, 7], tf.int64)
    photos, targets = mixup(PHOTOS, TARGETS, own)
    share = float(targets[0, 7])
    assert 0 < share < 1
    assert targets.numpy().sum(1) == pytest.approx(1)
    wanted = (1 - share) * PHOTOS.numpy() + share * PHOTOS.numpy()[::-1].astype(float)
    assert np.abs(photos.numpy() - wanted).max() <= 0.51
    assert np.array_equal(in_graph(lambda: mixup(PHOTOS, TARGETS, own)[0]), photos)


def test_erasing_covers_a_rectangle_of_its_share_of_the_photos() -> None:
    plain = tf.zeros((400, 32, 32, 3), tf.uint8)
    own = tf.constant([5, 7], tf.int64)
    erased = erase(plain, 0.25, own).numpy()
    touched = erased.any(-1)
    areas = touched.mean((1, 2))
    assert 0.18 < np.mean(areas > 0) < 0.32
    assert 0.005 < areas[areas > 0].min() < areas.max() < 0.4
    for mask in touched[areas > 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert mask[rows][:, columns].mean() > 0.95  # noise may be black
    assert np.array_equal(in_graph(lambda: erase(plain, 0.25, own)), erased)
    assert not np.array_equal(erase(plain, 0.25, own + 1), erased)


@pytest.mark.parametrize("shares", [{"cutmix_prob": 0.6, "mixup_prob": 0.6}, {"mixup_prob": -0.1}, {"erase_prob": 1.5}])
def test_shares_beyond_one_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="together at most 1"):
        Augment(**shares)
