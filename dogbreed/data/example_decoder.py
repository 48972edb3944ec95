"""Decode serialized examples and crop them to the square that a model sees, with or without random augmentation.

What is needed of each image is computed for a block of examples at once (`plan`), which takes a fraction of the time
of as many small operations; the pixels follow image by image (`image`).

Three coordinate systems occur, all with the origin at the top left; a region is float32 [n, 4], top, left, height and
width of n images:

- original: pixels of the source image, in which `image/original/bbox/*` is given.
- stored: pixels of the image in the shard, `image/height` x `image/width`. With `--crop defer` this is the whole source
  image, scaled; otherwise it is the crop, and the region is all of it.
- decoded: pixels after decoding, half of the stored ones where the decoder may skip every other one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from dogbreed.data.augment import Augment, Draws, crop_region, is_mirrored, jitter_margin, mirror
from dogbreed.data.examples import FEATURES, SIDES
from dogbreed.data.resize import (
    ANTIALIASED,
    ResizeSpec,
    Square,
    cut_square,
    decode,
    fit_region,
    plan_squares,
)

STORED = ("image/encoded", "image/class/label", "image/height", "image/width")
ORIGINAL = ("image/original/height", "image/original/width", *(f"image/original/bbox/{side}" for side in SIDES))


class View(NamedTuple):
    """An encoded image and what a model sees of it; of n images, each field is [n, ...], or () if unused."""

    encoded: tf.Tensor  # string [], JPEG
    label: tf.Tensor  # int32 []
    halve: Any  # bool [], whether half the height and width are enough, if that may be
    square: Square  # of the decoded image
    mirrored: Any  # bool [], with flips


class ExampleDecoder:
    """Decodes and crops the examples of one dataset for one size and resize mode, with one range of augmentations."""

    def __init__(self, config: Mapping[str, Any], view: ResizeSpec, augment: Augment) -> None:
        """`config` is the manifest's."""
        self._deferred = config["crop"] == "defer"
        self._margin = config["margin"]
        self._view, self.augment = view, augment
        self._features = {name: FEATURES[name] for name in ((*STORED, *ORIGINAL) if self._deferred else STORED)}
        # questions whose answer is the same for all images are not asked for each one
        self._may_halve = self._deferred or config["size"] >= 3 * view.outer_size
        largest = ANTIALIASED * view.size if augment.has_random_crop else view.size + 1
        self._may_reduce = self._deferred or config["resize_mode"] != "squash" or config["size"] >= largest

    def plan(self, examples: tf.Tensor, draws: Draws | None = None) -> View:
        """Return the views of serialized examples, string [n]; `draws` of n images, or None without augmentation."""
        features = tf.io.parse_example(examples, self._features)
        stored = tf.cast(tf.stack([features["image/height"], features["image/width"]], axis=1), tf.float32)
        region = tf.concat([tf.zeros_like(stored), stored], 1)
        if self._deferred:
            margin = jitter_margin(self._margin, self.augment, draws) if draws else self._margin
            region = _stored_region(features, stored, margin)
        # half the pixels are enough where 1.5 times the model's side remain for random crops
        halve = tf.reduce_min(region[:, 2:], axis=1) >= 3 * self._view.outer_size
        decoded = tf.where(halve[:, tf.newaxis], tf.math.ceil(stored / 2), stored)
        region *= tf.tile(decoded / stored, [1, 2])  # stored -> decoded pixels
        part = tf.concat([tf.zeros_like(decoded), decoded], 1)
        if self._deferred:
            part, region = _whole_pixels(region, decoded)
        region = fit_region(region, self._view)
        if draws and self.augment.has_random_crop:
            region = crop_region(region, draws)
        square = plan_squares(part, region, self._view.size, allow_rounding=self.augment.has_random_crop)
        label = tf.cast(features["image/class/label"], tf.int32)
        mirrored = is_mirrored(draws) if draws and self.augment.hflip else ()
        return View(features["image/encoded"], label, halve if self._may_halve else (), square, mirrored)

    def image(self, view: View) -> tuple[tf.Tensor, tf.Tensor]:
        """Return image, uint8 [size, size, 3], and label, int32 [], of one view."""
        encoded = view.encoded
        decoded = decode(encoded, view.halve) if self._may_halve else tf.io.decode_jpeg(encoded, channels=3)
        image = cut_square(decoded, view.square, self._view.size, self._may_reduce)
        return mirror(image, view.mirrored) if self.augment.hflip else image, view.label


def _stored_region(features: Mapping[str, tf.Tensor], stored: tf.Tensor, margin: Any) -> tf.Tensor:
    """Return the boxes with their margins, a number or float32 [n], as regions of the stored images.

    stored: float32 [n, 2], height and width of these in pixels.
    """
    left, top, right, bottom = (features[f"image/original/bbox/{side}"] for side in SIDES)
    x, y = margin * (right - left), margin * (bottom - top)
    width = tf.cast(features["image/original/width"], tf.float32)
    height = tf.cast(features["image/original/height"], tf.float32)
    left, right = tf.clip_by_value(left - x, 0, width), tf.clip_by_value(right + x, 0, width)
    top, bottom = tf.clip_by_value(top - y, 0, height), tf.clip_by_value(bottom + y, 0, height)
    scale = stored / tf.stack([height, width], axis=1)
    return tf.stack([top, left, bottom - top, right - left], axis=1) * tf.tile(scale, [1, 2])


def _whole_pixels(region: tf.Tensor, decoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the whole pixels that each region touches, as a region, and the region therein."""
    start = tf.floor(region[:, :2])
    end = tf.minimum(tf.math.ceil(region[:, :2] + region[:, 2:]), decoded)
    return tf.concat([start, end - start], 1), tf.concat([region[:, :2] - start, region[:, 2:]], 1)
