"""Decode a serialized example and crop it to the square that a model sees, for evaluation or with random augmentation.

Three coordinate systems occur, all with the origin at the top left; a region is float32 [top, left, height, width]:

- original: pixels of the source image, in which `image/original/bbox/*` is given.
- stored: pixels of the image in the shard, `image/height` x `image/width`. With `--crop defer` this is the whole source
  image, scaled; otherwise it is the crop, and the region is all of it.
- decoded: pixels after decoding, half of the stored ones where the decoder may skip every other one.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from dogbreed.data.augment import Augment, jitter_margin, random_flip, random_resized_crop_box
from dogbreed.data.examples import FEATURES, SIDES
from dogbreed.data.resize import ResizeSpec, crop_and_resize, crop_to_region, decode, fit_region

STORED = ("image/encoded", "image/class/label", "image/height", "image/width")
ORIGINAL = ("image/original/height", "image/original/width", *(f"image/original/bbox/{side}" for side in SIDES))


class ExampleDecoder:
    """Decodes and crops the examples of one dataset for one size and resize mode."""

    def __init__(self, config: Mapping[str, Any], view: ResizeSpec) -> None:
        """`config` is the manifest's."""
        self._deferred = config["crop"] == "defer"
        self._margin = config["margin"]
        self._view = view
        self._features = {name: FEATURES[name] for name in ((*STORED, *ORIGINAL) if self._deferred else STORED)}

    def eval_example(self, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return image, uint8 [size, size, 3], and label, int32 [], of a serialized example, string []."""
        image, region, label = self._decode(example, self._margin)
        return crop_and_resize(image, fit_region(region, self._view.mode), self._view.size), label

    def train_example(self, example: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the same with random crop and flip; draw: float32 [NUM_RANDOMS] in 0 to 1."""
        image, region, label = self._decode(example, jitter_margin(self._margin, augment, draw))
        return augment_region(image, fit_region(region, self._view.mode), self._view.size, augment, draw), label

    def _decode(self, example: tf.Tensor, margin: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the decoded image, the region of interest in it, and the label."""
        features = tf.io.parse_single_example(example, self._features)
        label = tf.cast(features["image/class/label"], tf.int32)
        stored = tf.cast(tf.stack([features["image/height"], features["image/width"]]), tf.float32)
        region = _stored_region(features, stored, margin) if self._deferred else tf.concat([[0.0, 0.0], stored], 0)
        # half the pixels are enough where 1.5 times the model's side remain for random crops
        image = decode(features["image/encoded"], tf.reduce_min(region[2:]) >= 3 * self._view.size)
        region *= tf.tile(tf.cast(tf.shape(image)[:2], tf.float32) / stored, [2])  # stored -> decoded pixels
        if self._deferred:
            image, region = crop_to_region(image, region)
        return image, region, label


def augment_region(image: tf.Tensor, region: tf.Tensor, size: int, augment: Augment, draw: tf.Tensor) -> tf.Tensor:
    """Return a random crop of a region, resized and perhaps flipped, uint8 [size, size, 3]."""
    if augment.has_random_crop:
        region = random_resized_crop_box(region, augment, draw)
    resized = crop_and_resize(image, region, size, allow_rounding=augment.has_random_crop)
    return random_flip(resized, draw) if augment.hflip else resized


def _stored_region(features: Mapping[str, tf.Tensor], stored: tf.Tensor, margin: tf.Tensor | float) -> tf.Tensor:
    """Return the box with its margin as a region of the stored image of `stored` [height, width] pixels."""
    left, top, right, bottom = (features[f"image/original/bbox/{side}"] for side in SIDES)
    x, y = margin * (right - left), margin * (bottom - top)
    width = tf.cast(features["image/original/width"], tf.float32)
    height = tf.cast(features["image/original/height"], tf.float32)
    left, right = tf.clip_by_value(left - x, 0, width), tf.clip_by_value(right + x, 0, width)
    top, bottom = tf.clip_by_value(top - y, 0, height), tf.clip_by_value(bottom + y, 0, height)
    scale = stored / tf.stack([height, width])
    return tf.stack([top, left, bottom - top, right - left]) * tf.tile(scale, [2])
