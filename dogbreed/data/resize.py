"""Resizing: how an image of any size becomes the square that a model sees."""

from dataclasses import dataclass

import tensorflow as tf

from dogbreed.core.errors import UsageError

RESIZE_MODES = ("squash", "pad", "crop")
ANTIALIASED = 1.5  # pixels of the image to one of the result from which on resizing needs antialiasing


@dataclass(frozen=True)
class ResizeSpec:
    """Side of the square in pixels, and how to get there: squash both sides, pad to a square, or crop the middle."""

    size: int
    mode: str = "squash"

    def __post_init__(self) -> None:
        if self.mode not in RESIZE_MODES:
            raise UsageError(f"unknown resize mode {self.mode!r}; known are {', '.join(RESIZE_MODES)}")


def decode(encoded: tf.Tensor, halve: tf.Tensor) -> tf.Tensor:
    """Return uint8 [height, width, 3] of a JPEG, by DCT scaling at half its size where `halve` is true."""
    return tf.cond(
        halve,
        lambda: tf.io.decode_jpeg(encoded, channels=3, ratio=2),
        lambda: tf.io.decode_jpeg(encoded, channels=3),
    )


def crop_to_region(image: tf.Tensor, region: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the whole pixels of uint8 [height, width, 3] that `region` touches, and the region therein."""
    start = tf.floor(region[:2])
    top, left = tf.unstack(tf.cast(start, tf.int32))
    bottom, right = tf.unstack(tf.cast(tf.math.ceil(region[:2] + region[2:]), tf.int32))
    return image[top:bottom, left:right], tf.concat([region[:2] - start, region[2:]], 0)


def fit_region(region: tf.Tensor, mode: str) -> tf.Tensor:
    """Return the part of the plane, float32 [top, left, height, width], that `mode` maps to the square.

    `pad` reaches beyond the image, where sampling gives black; `squash` keeps the region.
    """
    if mode == "squash":
        return region
    top, left, height, width = tf.unstack(region)
    side = tf.maximum(height, width) if mode == "pad" else tf.minimum(height, width)
    return tf.stack([top + (height - side) / 2, left + (width - side) / 2, side, side])


def crop_and_resize(image: tf.Tensor, region: tf.Tensor, size: int, allow_rounding: bool = False) -> tf.Tensor:
    """Return uint8 [size, size, 3]: `region` of uint8 [height, width, 3], resized with antialiasing.

    A region of whole pixels that is not reduced needs no antialiasing and takes a fifth of the time. `allow_rounding`,
    for random crops, rounds any region with fewer than 1.5 pixels to a new one to whole pixels and treats it likewise.
    """
    start, end = tf.round(region[:2]), tf.round(region[:2] + region[2:])
    sides = end - start
    limit = ANTIALIASED * size if allow_rounding else size + 1.0
    fast = _is_inside(start, end, image) & _has_area(sides) & tf.reduce_all(sides < limit)
    if not allow_rounding:
        fast &= _is_integer(region, start, sides)
    resized = tf.cond(
        fast,
        lambda: _bilinear(image[_int(start[0]) : _int(end[0]), _int(start[1]) : _int(end[1])], size),
        lambda: _antialiased(image, region, size),
    )
    return tf.ensure_shape(resized, [size, size, 3])


def _is_inside(start: tf.Tensor, end: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Return whether no part of the region is beyond the image, bool []."""
    return tf.reduce_all(start >= 0) & tf.reduce_all(end <= tf.cast(tf.shape(image)[:2], tf.float32))


def _has_area(sides: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(sides > 0)


def _is_integer(region: tf.Tensor, start: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Return whether the region is its own rounding, bool []."""
    return tf.reduce_all(tf.abs(tf.concat([start, sides], 0) - region) < 1e-3)


def _int(number: tf.Tensor) -> tf.Tensor:
    return tf.cast(number, tf.int32)


def _bilinear(part: tf.Tensor, size: int) -> tf.Tensor:
    def resized() -> tf.Tensor:
        floats = tf.raw_ops.ResizeBilinear(images=part[tf.newaxis], size=[size, size], half_pixel_centers=True)[0]
        return tf.cast(tf.round(floats), tf.uint8)

    return tf.cond(tf.reduce_all(tf.shape(part)[:2] == size), lambda: part, resized)


def _antialiased(image: tf.Tensor, region: tf.Tensor, size: int) -> tf.Tensor:
    scale = tf.cast(size, tf.float32) / region[2:]
    floats = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=[size, size],
        scale=scale,
        translation=-region[:2] * scale,
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.cast(tf.clip_by_value(tf.round(floats), 0, 255), tf.uint8)
