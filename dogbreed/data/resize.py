"""How a photo of any size becomes the square that a model sees."""

from dataclasses import dataclass

import tensorflow as tf

from dogbreed.core.errors import UsageError

RESIZE_MODES = ("squash", "pad", "crop")
ANTIALIASED = 1.5  # pixels of the photo to one of the view from which on resizing needs antialiasing


@dataclass(frozen=True)
class ResizeSpec:
    """How a photo becomes a square: squash both sides, pad to a square, or crop the middle."""

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


def crop_to_region(photo: tf.Tensor, region: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the whole pixels of uint8 [height, width, 3] that `region` touches, and the region therein."""
    start = tf.floor(region[:2])
    top, left = tf.unstack(tf.cast(start, tf.int32))
    bottom, right = tf.unstack(tf.cast(tf.math.ceil(region[:2] + region[2:]), tf.int32))
    return photo[top:bottom, left:right], tf.concat([region[:2] - start, region[2:]], 0)


def fit_region(region: tf.Tensor, mode: str) -> tf.Tensor:
    """Return the part of the plane, float32 [top, left, height, width], that `mode` maps to the square.

    `pad` reaches beyond the photo, where sampling gives black; `squash` keeps the region.
    """
    if mode == "squash":
        return region
    top, left, height, width = tf.unstack(region)
    side = tf.maximum(height, width) if mode == "pad" else tf.minimum(height, width)
    return tf.stack([top + (height - side) / 2, left + (width - side) / 2, side, side])


def crop_and_resize(photo: tf.Tensor, region: tf.Tensor, size: int, allow_rounding: bool = False) -> tf.Tensor:
    """Return uint8 [size, size, 3]: `region` of uint8 [height, width, 3], resized with antialiasing.

    Whole pixels that need no shrinking need no antialiasing and take a fifth of the time. With `allow_rounding`, for
    random views, a region of fewer than 1.5 pixels to a new one is rounded to whole pixels and treated like those.
    """
    start, end = tf.round(region[:2]), tf.round(region[:2] + region[2:])
    inside = tf.reduce_all(start >= 0) & tf.reduce_all(end <= tf.cast(tf.shape(photo)[:2], tf.float32))
    few = tf.reduce_all(end - start < (ANTIALIASED * size if allow_rounding else size + 1)) & tf.reduce_all(end > start)
    whole = allow_rounding or tf.reduce_all(tf.abs(tf.concat([start, end - start], 0) - region) < 1e-3)
    image = tf.cond(
        inside & few & whole,
        lambda: _bilinear(photo[_int(start[0]) : _int(end[0]), _int(start[1]) : _int(end[1])], size),
        lambda: _antialiased(photo, region, size),
    )
    return tf.ensure_shape(image, [size, size, 3])


def _int(number: tf.Tensor) -> tf.Tensor:
    return tf.cast(number, tf.int32)


def _bilinear(part: tf.Tensor, size: int) -> tf.Tensor:
    def resized() -> tf.Tensor:
        floats = tf.raw_ops.ResizeBilinear(images=part[tf.newaxis], size=[size, size], half_pixel_centers=True)[0]
        return tf.cast(tf.round(floats), tf.uint8)

    return tf.cond(tf.reduce_all(tf.shape(part)[:2] == size), lambda: part, resized)


def _antialiased(photo: tf.Tensor, region: tf.Tensor, size: int) -> tf.Tensor:
    scale = tf.cast(size, tf.float32) / region[2:]
    floats = tf.raw_ops.ScaleAndTranslate(
        images=photo[tf.newaxis],
        size=[size, size],
        scale=scale,
        translation=-region[:2] * scale,
        kernel_type="triangle",
        antialias=True,
    )[0]
    return tf.cast(tf.clip_by_value(tf.round(floats), 0, 255), tf.uint8)
