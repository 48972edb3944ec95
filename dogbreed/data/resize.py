"""Resizing: how an image of any size becomes the square that a model sees.

Which pixels are needed is computed for a block of images at once (`plan_squares`), because small operations for each
image would take longer than decoding it; pixels are then touched image by image (`cut_square`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from dogbreed.core.errors import UsageError

RESIZE_MODES = ("squash", "pad", "crop")
MAX_ZOOM = 2.0
AS_IS, BILINEAR, ANTIALIAS = range(3)  # ways to resize
ANTIALIASED = 1.5  # pixels of the image to one of the result from which on resizing needs antialiasing


@dataclass(frozen=True)
class ResizeSpec:
    """How an image becomes the square that a model sees: squash both sides, pad to a square, or crop the middle.

    With a zoom, the model sees the centre of a square of `outer_size` pixels, resized from the image in one step. An
    image whose centre has fewer than `size` pixels is zoomed less, down to 1: a zoom enlarges nothing.
    """

    size: int  # side of what the model sees, pixels
    mode: str = "squash"
    zoom: float = 1.0  # 1 to MAX_ZOOM; of evaluation and prediction, never of training batches

    def __post_init__(self) -> None:
        if self.mode not in RESIZE_MODES:
            raise UsageError(f"unknown resize mode {self.mode!r}; known are {', '.join(RESIZE_MODES)}")
        if not 1 <= self.zoom <= MAX_ZOOM:
            raise UsageError(f"zoom {self.zoom} is outside 1 to {MAX_ZOOM:.0f}")

    @property
    def outer_size(self) -> int:
        """Side in pixels of the square whose centre the model sees; `size` without a zoom."""
        return round(self.zoom * self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, for hashes; one that was added later is left out while it has its default."""
        fields: dict[str, Any] = {"size": self.size, "mode": self.mode}
        return fields if self.zoom == 1 else {**fields, "zoom": self.zoom}


class Square(NamedTuple):
    """How the pixels of an image become the square that a model sees; of n images, each field is [n, ...]."""

    begin: tf.Tensor  # int32 [3], top, left, 0: the first pixel that is needed
    shape: tf.Tensor  # int32 [3], height, width, 3 of the pixels that are needed
    way: tf.Tensor  # int32 [], one of AS_IS, BILINEAR and ANTIALIAS
    region: tf.Tensor  # float32 [4], top, left, height and width in the needed pixels: what ANTIALIAS resizes


def decode(encoded: tf.Tensor, halve: tf.Tensor) -> tf.Tensor:
    """Return uint8 [height, width, 3] of a JPEG, by DCT scaling at half its size where `halve` is true."""
    return tf.cond(
        halve,
        lambda: tf.io.decode_jpeg(encoded, channels=3, ratio=2),
        lambda: tf.io.decode_jpeg(encoded, channels=3),
    )


def fit_region(region: tf.Tensor, view: ResizeSpec) -> tf.Tensor:
    """Return the part of the plane, float32 [..., 4] (top, left, height, width), that `view` maps to the square.

    `pad` reaches beyond the image, where sampling gives black; `squash` keeps the region. A zoom then takes the centre.
    """
    if view.mode != "squash":
        top, left, height, width = tf.unstack(region, axis=-1)
        side = tf.maximum(height, width) if view.mode == "pad" else tf.minimum(height, width)
        region = tf.stack([top + (height - side) / 2, left + (width - side) / 2, side, side], axis=-1)
    return region if view.outer_size == view.size else _centre(region, view)


def _centre(region: tf.Tensor, view: ResizeSpec) -> tf.Tensor:
    """Return the centre of `region`, both float32 [..., 4], with its sides divided by the zoom.

    The zoom of a region is smaller where fewer than `view.size` pixels would remain of its shorter side.
    """
    start, sides = region[..., :2], region[..., 2:]
    shorter = tf.reduce_min(sides, axis=-1, keepdims=True)
    shown = sides / tf.clip_by_value(shorter / view.size, 1.0, view.outer_size / view.size)
    return tf.concat([start + (sides - shown) / 2, shown], -1)


def plan_squares(part: tf.Tensor, region: tf.Tensor, size: int, allow_rounding: bool = False) -> Square:
    """Return how `region` becomes a square of `size` pixels, for n images.

    A region of whole pixels that is not reduced needs no antialiasing and takes a fifth of the time. `allow_rounding`,
    for random crops, rounds any region with fewer than 1.5 pixels to a new one to whole pixels and treats it likewise.

    Args:
        part: float32 [n, 4], the part of the image that may be sampled, in whole pixels.
        region: float32 [n, 4] of `part`.
    """
    start, end = tf.round(region[:, :2]), tf.round(region[:, :2] + region[:, 2:])
    if allow_rounding:  # at least one pixel
        start = tf.minimum(start, part[:, 2:] - 1)
        end = tf.maximum(end, start + 1)
    sides = end - start
    inside = (start >= 0) & (end <= part[:, 2:])
    limit = ANTIALIASED * size if allow_rounding else size + 1.0
    fast = tf.reduce_all(inside & (sides > 0) & (sides < limit), axis=1)
    if not allow_rounding:
        fast &= tf.reduce_all(tf.abs(tf.concat([start, sides], 1) - region) < 1e-3, axis=1)
    begin = tf.where(fast[:, tf.newaxis], part[:, :2] + start, part[:, :2])
    shape = tf.where(fast[:, tf.newaxis], sides, part[:, 2:])
    way = tf.where(tf.reduce_all(shape == size, axis=1), AS_IS, BILINEAR)
    return Square(
        tf.pad(tf.cast(begin, tf.int32), [[0, 0], [0, 1]]),
        tf.pad(tf.cast(shape, tf.int32), [[0, 0], [0, 1]], constant_values=3),
        tf.where(fast, way, ANTIALIAS),
        region,
    )


def cut_square(image: tf.Tensor, square: Square, size: int, may_reduce: bool = True) -> tf.Tensor:
    """Return uint8 [size, size, 3] of uint8 [height, width, 3].

    may_reduce: whether `square.way` may be ANTIALIAS.
    """
    needed = tf.slice(image, square.begin, square.shape)
    ways = [lambda: needed, lambda: _bilinear(needed, size), lambda: _antialiased(needed, square.region, size)]
    if may_reduce:
        resized = tf.switch_case(square.way, ways)
    else:
        resized = tf.cond(square.way == AS_IS, ways[AS_IS], ways[BILINEAR])
    return tf.ensure_shape(resized, [size, size, 3])


def _bilinear(image: tf.Tensor, size: int) -> tf.Tensor:
    floats = tf.raw_ops.ResizeBilinear(images=image[tf.newaxis], size=[size, size], half_pixel_centers=True)[0]
    return tf.cast(tf.round(floats), tf.uint8)


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


def crop_and_resize(image: tf.Tensor, region: tf.Tensor, size: int, allow_rounding: bool = False) -> tf.Tensor:
    """Return uint8 [size, size, 3]: a region, float32 [4], of uint8 [height, width, 3]; see `plan_squares`."""
    whole = tf.concat([[0.0, 0.0], tf.cast(tf.shape(image)[:2], tf.float32)], 0)
    squares = plan_squares(whole[tf.newaxis], region[tf.newaxis], size, allow_rounding)
    return cut_square(image, Square(*(field[0] for field in squares)), size)
