"""Brightness, contrast and saturation: Pillow's values, alone and together, the same eagerly and inside tf.data."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from dogbreed.core.errors import UsageError
from dogbreed.data.augment import Augment
from dogbreed.data.colour import adjust_colour

NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
PHOTO = np.asarray(Image.fromarray(NOISE).resize((48, 48), Image.Resampling.BICUBIC))  # values of 0 to 255
ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


def enhanced(photo: np.ndarray, **factors: float) -> np.ndarray:
    """Return what Pillow makes of a photo, one factor after the other."""
    image = Image.fromarray(photo)
    for name, factor in factors.items():
        image = ENHANCERS[name](image).enhance(factor)
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", list(ENHANCERS))
@pytest.mark.parametrize("factor", [0.0, 0.3, 0.9, 1.0, 1.4, 2.0])
def test_one_factor_changes_a_photo_as_pillow_does(name: str, factor: float) -> None:
    found = adjust_colour(tf.constant(PHOTO), **{name: factor}).numpy()
    assert found.dtype == np.uint8
    # Pillow rounds down; and it rounds the mean gray (contrast) or each gray value (saturation) before
    assert np.abs(found - enhanced(PHOTO, **{name: factor})).max() <= 1


def test_factors_of_one_change_nothing() -> None:
    assert np.array_equal(adjust_colour(tf.constant(PHOTO), 1.0, 1.0, 1.0), PHOTO)
    gray = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4, 3, 2)
    assert np.array_equal(adjust_colour(tf.constant(gray), saturation=1.7), gray)


@pytest.mark.parametrize("order", [["brightness", "contrast", "saturation"], ["saturation", "contrast", "brightness"]])
def test_all_factors_at_once_are_pillows_one_after_the_other_where_nothing_is_clipped(order: list[str]) -> None:
    soft = (70 + PHOTO * 0.3).astype(np.uint8)
    factors = {"brightness": 1.3, "contrast": 0.7, "saturation": 1.4}
    found = adjust_colour(tf.constant(soft), **factors).numpy()
    assert np.abs(found - enhanced(soft, **{name: factors[name] for name in order})).max() <= 3  # rounded down thrice


def test_colours_are_the_same_inside_tf_data_and_in_any_part_of_a_photo() -> None:
    changed = adjust_colour(tf.constant(PHOTO), 1.3, 1.0, 0.6).numpy()
    inside = tf.autograph.experimental.do_not_convert(lambda photo: adjust_colour(photo, 1.3, 1.0, 0.6))
    mapped = tf.data.Dataset.from_tensors(tf.constant(PHOTO)).map(inside)
    assert np.array_equal(next(mapped.as_numpy_iterator()), changed)
    assert np.array_equal(adjust_colour(tf.constant(PHOTO[5:18, 3:16]), 1.3, 1.0, 0.6), changed[5:18, 3:16])


@pytest.mark.parametrize("wrong", [{"brightness": -0.1}, {"contrast": 1.1}, {"saturation": 2.0}])
def test_jitter_beyond_one_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="0 to 1"):
        Augment(**wrong)
