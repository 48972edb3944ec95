"""TrivialAugment: each operation against Pillow's, and what is drawn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from dogbreed.data.trivial_augment import NUM_CHOICES, OPERATIONS, STEPS, Chosen, choose_operations, trivial_augment

SIZE = 48
NOISE = np.random.default_rng(0).integers(30, 220, (8, 8, 3), np.uint8)
PHOTO = np.asarray(Image.fromarray(NOISE).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
NAMES = list(OPERATIONS)


def affine(*matrix: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix)  # nearest pixel, black beyond


REFERENCES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "shear-x": lambda image, m: affine(1, m, 0, 0, 1, 0)(image),
    "shear-y": lambda image, m: affine(1, 0, 0, m, 1, 0)(image),
    "translate-x": lambda image, m: affine(1, 0, int(m), 0, 1, 0)(image),
    "translate-y": lambda image, m: affine(1, 0, 0, 0, 1, int(m))(image),
    "rotate": lambda image, m: image.rotate(m),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(1 + m),
    "colour": lambda image, m: ImageEnhance.Color(image).enhance(1 + m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + m),
    "posterize": lambda image, m: ImageOps.posterize(image, round(m)),
    "solarize": lambda image, m: ImageOps.solarize(image, math.ceil(m)),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}
MOVED = {"shear-x", "shear-y", "translate-x", "translate-y", "rotate"}


def apply(name: str, photo: np.ndarray, magnitude: float) -> np.ndarray:
    return np.asarray(OPERATIONS[name].apply(tf.constant(photo), tf.constant(magnitude, tf.float32)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fraction", [0.0, 0.17, 0.5, 1.0, -0.33, -1.0])
def test_an_operation_changes_a_photo_as_pillows_does(name: str, fraction: float) -> None:
    first, last, signed = OPERATIONS[name][1:]
    magnitude = first + (last - first) * abs(fraction)
    if signed:
        magnitude = math.copysign(magnitude, fraction)
    expected = np.asarray(REFERENCES[name](Image.fromarray(PHOTO), magnitude)).astype(int)
    difference = np.abs(apply(name, PHOTO, magnitude) - expected).max(2)
    if name in MOVED:
        assert np.mean(difference > 0) <= 0.02  # half-way between two pixels, as many are after 135 degrees
    else:
        assert difference.max() <= 1  # Pillow rounds down


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_a_channel_of_one_value_stays(name: str) -> None:
    flat = PHOTO.copy()
    flat[..., 1] = 77
    changed = apply(name, flat, 0.0)
    assert (changed[..., 1] == 77).all()
    assert not np.array_equal(changed[..., 0], flat[..., 0])


def test_the_fourteen_operations_are_drawn_equally_often_with_the_magnitudes_of_the_paper() -> None:
    assert list(REFERENCES) == NAMES
    chosen = choose_operations(tf.random.stateless_uniform([28_000, NUM_CHOICES], [1, 2]))
    counts = np.bincount(chosen.operation, minlength=14)
    assert len(counts) == 14
    assert counts.min() > 1800  # expected: 2000
    for number, (_, first, last, signed) in enumerate(OPERATIONS.values()):
        found = chosen.magnitude.numpy()[chosen.operation.numpy() == number]
        steps = np.linspace(first, last, STEPS)
        assert np.unique(found) == pytest.approx(np.unique([*steps, *(-steps if signed else steps)]), abs=1e-4)
        assert 0.4 < np.mean(found > 0) < 0.6 if signed else (found >= 0).all()


def test_the_chosen_operation_is_applied_in_tf_data_as_eagerly() -> None:
    chosen = Chosen(tf.range(14), tf.constant([operation.last for operation in OPERATIONS.values()]))
    inside = tf.autograph.experimental.do_not_convert(lambda choice: trivial_augment(tf.constant(PHOTO), choice))
    mapped = tf.data.Dataset.from_tensor_slices(chosen).map(inside)
    for name, found in zip(NAMES, mapped.as_numpy_iterator(), strict=True):
        assert np.array_equal(found, apply(name, PHOTO, OPERATIONS[name].last)), name
