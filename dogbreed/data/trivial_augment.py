"""TrivialAugment Wide: one random operation at a random magnitude for each image (Müller & Hutter, arXiv:2103.10158).

Operations, ranges of magnitudes, their 31 steps and random signs are those of torchvision's TrivialAugmentWide with its
defaults: geometric operations take the nearest pixel and fill with black, translations are in pixels of the model's
image whatever its size. Values are rounded to the nearest where torchvision rounds down.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from dogbreed.data.colour import adjust_colour

STEPS = 31  # of a magnitude
NUM_CHOICES = 3  # random numbers of an image: for its operation, magnitude and sign


class Operation(NamedTuple):
    """One of the operations, with the magnitudes that it may have."""

    apply: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (uint8 [size, size, 3], float32 []) -> uint8 [size, size, 3]
    first: float = 0.0  # magnitude of the first step
    last: float = 0.0
    signed: bool = False  # whether half of the magnitudes are negative


class Chosen(NamedTuple):
    """What was drawn for an image; of n images, each field is [n]."""

    operation: tf.Tensor  # int32 [], place in OPERATIONS
    magnitude: tf.Tensor  # float32 []


def choose_operations(uniform: tf.Tensor) -> Chosen:
    """Return what follows from uniform random numbers, float32 [n, NUM_CHOICES] in 0 to 1."""
    operation = tf.cast(uniform[:, 0] * len(OPERATIONS), tf.int32)
    step = tf.floor(uniform[:, 1] * STEPS)
    first, last, signed = (tf.gather(tf.constant(column), operation) for column in _COLUMNS)
    magnitude = first + (last - first) * step / (STEPS - 1)
    return Chosen(operation, tf.where(signed & (uniform[:, 2] < 0.5), -magnitude, magnitude))


def trivial_augment(image: tf.Tensor, chosen: Chosen) -> tf.Tensor:
    """Return uint8 [size, size, 3] after the chosen operation."""
    ways = [lambda apply=operation.apply: apply(image, chosen.magnitude) for operation in OPERATIONS.values()]
    return tf.ensure_shape(tf.switch_case(chosen.operation, ways), image.shape)


def shear_x(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Shift each row by `magnitude` pixels for each pixel that it is below the top."""
    return _transform(image, (1.0, magnitude, 0.0), (0.0, 1.0, 0.0))


def shear_y(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Shift each column by `magnitude` pixels for each pixel that it is right of the left edge."""
    return _transform(image, (1.0, 0.0, 0.0), (magnitude, 1.0, 0.0))


def translate_x(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Shift the image left by so many pixels, without the fraction."""
    return _transform(image, (1.0, 0.0, _truncate(magnitude)), (0.0, 1.0, 0.0))


def translate_y(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Shift the image up by so many pixels, without the fraction."""
    return _transform(image, (1.0, 0.0, 0.0), (0.0, 1.0, _truncate(magnitude)))


def rotate(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Rotate the image counterclockwise by so many degrees about its centre."""
    angle = magnitude * (3.14159265 / 180)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    centre = int(image.shape[1]) / 2
    shift_x, shift_y = centre * (1.0 - cosine + sine), centre * (1.0 - cosine - sine)
    return _transform(image, (cosine, -sine, shift_x), (sine, cosine, shift_y))


def sharpen(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Blur (-1) or sharpen (1) all but the outermost pixels, as Pillow's `ImageEnhance.Sharpness` does.

    The blurred pixel is the mean of 3 x 3, of which that in the middle counts five times.
    """
    size = int(image.shape[1])
    rows = tf.reshape(image, [size, -1])  # with a last dimension of 3 it takes several times as long
    values = tf.cast(rows, tf.float32)
    columns = values[:-2] + values[1:-1] + values[2:]
    inner = values[1:-1, 3:-3]
    blurred = (columns[:, :-6] + columns[:, 3:-3] + columns[:, 6:] + 4.0 * inner) / 13.0
    changed = _to_pixels(blurred + (1.0 + magnitude) * (inner - blurred))
    middle = tf.concat([rows[1:-1, :3], changed, rows[1:-1, -3:]], 1)
    return tf.reshape(tf.concat([rows[:1], middle, rows[-1:]], 0), tf.shape(image))


def posterize(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Keep the highest bits of each value, `magnitude` rounded in number."""
    dropped = tf.cast(8.0 - tf.round(magnitude), tf.uint8)
    return tf.bitwise.bitwise_and(image, tf.bitwise.left_shift(tf.constant(255, tf.uint8), dropped))


def solarize(image: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
    """Invert the values that are at least `magnitude`."""
    threshold = tf.cast(tf.math.ceil(magnitude), tf.uint8)
    # tf.where takes ten times as long
    return tf.bitwise.bitwise_xor(image, tf.cast(image >= threshold, tf.uint8) * tf.constant(255, tf.uint8))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel to 0 to 255; one that has a single value stays."""
    size = int(image.shape[1])
    pixels = tf.reshape(image, [-1, 3])
    low, high = (tf.cast(reduce(pixels, 0), tf.float32) for reduce in (tf.reduce_min, tf.reduce_max))
    is_flat = high == low
    scale = tf.where(is_flat, 1.0, 255.0 / tf.maximum(high - low, 1.0))
    low = tf.where(is_flat, 0.0, low)
    values = tf.cast(tf.reshape(image, [size, -1]), tf.float32)
    stretched = _to_pixels((values - tf.tile(low, [size])) * tf.tile(scale, [size]))
    return tf.reshape(stretched, tf.shape(image))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spread the histogram of each channel evenly, as Pillow's `ImageOps.equalize` does."""
    size = int(image.shape[1])
    places = tf.cast(tf.reshape(image, [size, -1]), tf.int32) + tf.tile([0, 256, 512], [size])  # in all three tables
    counts = tf.reshape(tf.math.bincount(places, minlength=768, maxlength=768), [3, 256])
    largest = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0), axis=1)
    step = (size * size - tf.gather(counts, largest, batch_dims=1))[:, tf.newaxis] // 255
    table = (step // 2 + tf.cumsum(counts, axis=1, exclusive=True)) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return tf.reshape(tf.gather(tf.cast(tf.reshape(table, [-1]), tf.uint8), places), tf.shape(image))


def _transform(image: tf.Tensor, x: tuple[tf.Tensor | float, ...], y: tuple[tf.Tensor | float, ...]) -> tf.Tensor:
    """Return each pixel from another place of the image, black where that is beyond it.

    The pixel whose centre is (column, row) is taken from x[0] * column + x[1] * row + x[2], and likewise for y.
    ImageProjectiveTransformV3 takes four times as long, because it computes the place of each channel of each pixel.
    """
    size = int(image.shape[1])
    centre = tf.range(float(size)) + 0.5
    # a frame of one black pixel stands for all that is beyond
    place_x, place_y = (
        tf.clip_by_value(tf.floor((a * centre)[tf.newaxis] + (b * centre + (c + 1.0))[:, tf.newaxis]), 0.0, size + 1.0)
        for a, b, c in (x, y)
    )
    framed = tf.reshape(tf.pad(image, [[1, 1], [1, 1], [0, 0]]), [-1, 3])
    return tf.gather(framed, tf.cast(place_y * (size + 2.0) + place_x, tf.int32))


def _truncate(magnitude: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.cast(magnitude, tf.int32), tf.float32)


def _to_pixels(values: tf.Tensor) -> tf.Tensor:
    """Return float32 values as uint8, rounded and clipped."""
    return tf.cast(tf.clip_by_value(values + 0.5, 0.0, 255.0), tf.uint8)


OPERATIONS = {
    "identity": Operation(lambda image, _: image),
    "shear-x": Operation(shear_x, 0.0, 0.99, signed=True),
    "shear-y": Operation(shear_y, 0.0, 0.99, signed=True),
    "translate-x": Operation(translate_x, 0.0, 32.0, signed=True),
    "translate-y": Operation(translate_y, 0.0, 32.0, signed=True),
    "rotate": Operation(rotate, 0.0, 135.0, signed=True),
    "brightness": Operation(lambda image, m: adjust_colour(image, brightness=1.0 + m), 0.0, 0.99, signed=True),
    "colour": Operation(lambda image, m: adjust_colour(image, saturation=1.0 + m), 0.0, 0.99, signed=True),
    "contrast": Operation(lambda image, m: adjust_colour(image, contrast=1.0 + m), 0.0, 0.99, signed=True),
    "sharpness": Operation(sharpen, 0.0, 0.99, signed=True),
    "posterize": Operation(posterize, 8.0, 2.0),
    "solarize": Operation(solarize, 255.0, 0.0),
    "autocontrast": Operation(lambda image, _: autocontrast(image)),
    "equalize": Operation(lambda image, _: equalize(image)),
}
_COLUMNS = tuple(zip(*((one.first, one.last, one.signed) for one in OPERATIONS.values()), strict=True))
