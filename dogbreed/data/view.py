"""How a photo of any size becomes the square that a model sees."""

from dataclasses import dataclass

import tensorflow as tf

from dogbreed.platform.errors import UnknownName

SHAPES = ("squash", "pad", "crop")


@dataclass(frozen=True)
class View:
    """How a photo becomes a square: squash both sides, pad to a square, or crop the middle."""

    size: int
    shape: str = "squash"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UnknownName(f"unknown shape {self.shape!r}; known are {', '.join(SHAPES)}")


def decode(encoded: tf.Tensor, halve: tf.Tensor) -> tf.Tensor:
    """Return uint8 [height, width, 3] of a JPEG, by DCT scaling at half its size where `halve` is true."""
    return tf.cond(
        halve,
        lambda: tf.io.decode_jpeg(encoded, channels=3, ratio=2),
        lambda: tf.io.decode_jpeg(encoded, channels=3),
    )


def cut(photo: tf.Tensor, region: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the whole pixels of uint8 [height, width, 3] that `region` touches, and the region therein."""
    start = tf.floor(region[:2])
    top, left = tf.unstack(tf.cast(start, tf.int32))
    bottom, right = tf.unstack(tf.cast(tf.math.ceil(region[:2] + region[2:]), tf.int32))
    return photo[top:bottom, left:right], tf.concat([region[:2] - start, region[2:]], 0)


def square(region: tf.Tensor, shape: str) -> tf.Tensor:
    """Return the part of the plane, float32 [top, left, height, width], that `shape` maps to the square.

    `pad` reaches beyond the photo, where sampling gives black; `squash` keeps the region.
    """
    if shape == "squash":
        return region
    top, left, height, width = tf.unstack(region)
    side = tf.maximum(height, width) if shape == "pad" else tf.minimum(height, width)
    return tf.stack([top + (height - side) / 2, left + (width - side) / 2, side, side])


def sample(photo: tf.Tensor, region: tf.Tensor, size: int) -> tf.Tensor:
    """Return uint8 [size, size, 3]: `region` of uint8 [height, width, 3], resized with antialiasing."""
    scale = tf.cast(size, tf.float32) / region[2:]
    floats = tf.raw_ops.ScaleAndTranslate(
        images=photo[tf.newaxis],
        size=[size, size],
        scale=scale,
        translation=-region[:2] * scale,
        kernel_type="triangle",
        antialias=True,
    )[0]
    image = tf.cast(tf.clip_by_value(tf.round(floats), 0, 255), tf.uint8)
    return tf.ensure_shape(image, [size, size, 3])
