"""Test-time augmentation: which views of an image are averaged, and with which weights."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from dogbreed.evaluation.predict import augmented_views

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)


def weights_of(tta: str) -> Counter[bytes]:
    """Return the weight of each view by its pixels."""
    return Counter({np.asarray(view).tobytes(): weight for weight, view in augmented_views(tf.constant(IMAGES), tta)})


@pytest.mark.parametrize(("tta", "views"), [("none", 1), ("flip", 2), ("flip-shift", 6)])
def test_the_weights_of_the_views_add_up_to_1(tta: str, views: int) -> None:
    assert len(weights_of(tta)) == views
    assert weights_of(tta).total() == 1


def test_flip_is_the_image_and_its_mirror_image() -> None:
    assert weights_of("flip") == {IMAGES.tobytes(): 0.5, IMAGES[:, :, ::-1].tobytes(): 0.5}


def test_flip_shift_adds_shifts_by_one_pixel_with_reflected_edges() -> None:
    up_left, down_right = IMAGES.copy(), IMAGES.copy()
    up_left[:, :-1, :-1], down_right[:, 1:, 1:] = IMAGES[:, 1:, 1:], IMAGES[:, :-1, :-1]
    up_left[:, -1, :-1], down_right[:, 0, 1:] = IMAGES[:, -2, 1:], IMAGES[:, 1, :-1]  # a row comes into view
    up_left[:, :-1, -1], down_right[:, 1:, 0] = IMAGES[:, 1:, -2], IMAGES[:, :-1, 1]  # and a column
    up_left[:, -1, -1], down_right[:, 0, 0] = IMAGES[:, -2, -2], IMAGES[:, 1, 1]
    wanted = [(IMAGES, 0.25), (up_left, 0.125), (down_right, 0.125)]
    found = weights_of("flip-shift")
    for images, weight in wanted:
        assert found[images.tobytes()] == found[images[:, :, ::-1].tobytes()] == weight
