"""The views of examples, computed one by one and step by step: what the input pipeline must show, bit for bit."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dogbreed.core.storage import Store
from dogbreed.data.augment import NUM_RANDOMS, Augment
from dogbreed.data.examples import FEATURES, SIDES
from dogbreed.data.manifest import Manifest
from dogbreed.data.resize import ResizeSpec

Array = np.ndarray[Any, np.dtype[Any]]


def views(
    manifest: Manifest, store: Store, split: str, view: ResizeSpec, augment: Augment | None = None, seed: int = 0
) -> Iterator[Array]:
    """Yield uint8 [size, size, 3] in the order of the evaluation or, with `augment`, of the first epoch of a seed."""
    paths = tf.constant([str(store.local_path(shard.key)) for shard in manifest.split(split).shards])
    if augment is None:
        for example in _read(paths):
            yield _view(example, manifest.config, view, Augment(), tf.zeros(NUM_RANDOMS))
        return
    view = dataclasses.replace(view, zoom=1.0)  # which training never has
    epoch = tf.constant([seed, 0], tf.int64)
    order = tf.stack([_fold(epoch), 0])
    examples = tf.stack(list(_read(tf.random.experimental.stateless_shuffle(paths, epoch))))
    draws = tf.random.stateless_uniform([2048, NUM_RANDOMS], tf.stack([_fold(epoch + 1), 0]))
    for example, draw in zip(tf.random.experimental.stateless_shuffle(examples, order), draws, strict=False):
        yield _view(example, manifest.config, view, augment, draw)


def _read(paths: tf.Tensor) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(paths).interleave(tf.data.TFRecordDataset, cycle_length=4)


def _fold(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, maxval=2**62, dtype=tf.int64)


def _view(example: tf.Tensor, config: Mapping[str, Any], view: ResizeSpec, augment: Augment, draw: tf.Tensor) -> Array:
    features = tf.io.parse_single_example(example, FEATURES)
    stored = tf.cast(tf.stack([features["image/height"], features["image/width"]]), tf.float32)
    region = tf.concat([[0.0, 0.0], stored], 0)
    if config["crop"] == "defer":
        region = _box(features, stored, config["margin"] + augment.margin_jitter * (2 * draw[5] - 1))
    ratio = 2 if float(tf.reduce_min(region[2:])) >= 3 * round(view.zoom * view.size) else 1
    image = tf.io.decode_jpeg(features["image/encoded"], channels=3, ratio=ratio)
    region *= tf.tile(tf.cast(tf.shape(image)[:2], tf.float32) / stored, [2])
    if config["crop"] == "defer":
        start = tf.floor(region[:2])
        end = tf.math.ceil(region[:2] + region[2:])
        image = image[int(start[0]) : int(end[0]), int(start[1]) : int(end[1])]
        region = tf.concat([region[:2] - start, region[2:]], 0)
    region = _fit(region, view.mode)
    if view.zoom > 1:
        region = _zoom(region, view)
    if augment.has_random_crop:
        region = _crop(region, augment, draw)
    pixels = _resize(image, region, view.size, augment.has_random_crop)
    return pixels[:, ::-1] if augment.hflip and float(draw[4]) < 0.5 else pixels


def _box(features: Mapping[str, tf.Tensor], stored: tf.Tensor, margin: tf.Tensor) -> tf.Tensor:
    left, top, right, bottom = (features[f"image/original/bbox/{side}"] for side in SIDES)
    x, y = margin * (right - left), margin * (bottom - top)
    width, height = (tf.cast(features[f"image/original/{name}"], tf.float32) for name in ("width", "height"))
    left, right = tf.clip_by_value(left - x, 0, width), tf.clip_by_value(right + x, 0, width)
    top, bottom = tf.clip_by_value(top - y, 0, height), tf.clip_by_value(bottom + y, 0, height)
    return tf.stack([top, left, bottom - top, right - left]) * tf.tile(stored / tf.stack([height, width]), [2])


def _fit(region: tf.Tensor, mode: str) -> tf.Tensor:
    if mode == "squash":
        return region
    top, left, height, width = tf.unstack(region)
    side = tf.maximum(height, width) if mode == "pad" else tf.minimum(height, width)
    return tf.stack([top + (height - side) / 2, left + (width - side) / 2, side, side])


def _zoom(region: tf.Tensor, view: ResizeSpec) -> tf.Tensor:
    """Return the centre, but no fewer than `size` pixels of the shorter side unless that has fewer."""
    ratio = min(round(view.zoom * view.size) / view.size, max(1.0, float(tf.reduce_min(region[2:])) / view.size))
    return tf.concat([region[:2] + (region[2:] - region[2:] / ratio) / 2, region[2:] / ratio], 0)


def _crop(region: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tf.Tensor:
    area = augment.min_area + (1 - augment.min_area) * draw[0]
    aspect = augment.max_aspect ** (2 * draw[1] - 1)
    sides = tf.minimum(tf.sqrt(area * tf.stack([1 / aspect, aspect])), 1)
    return tf.concat([region[:2] + draw[2:4] * (1 - sides) * region[2:], sides * region[2:]], 0)


def _resize(image: tf.Tensor, region: tf.Tensor, size: int, rounding: bool) -> Array:
    """Resize without antialiasing where the region is not reduced (much) and in whole pixels (or may be rounded)."""
    (top, left), (bottom, right) = np.round(region[:2]).astype(int), np.round(region[:2] + region[2:]).astype(int)
    sides = np.array([bottom - top, right - left])
    inside = top >= 0 and left >= 0 and bottom <= image.shape[0] and right <= image.shape[1] and (sides > 0).all()
    whole = np.abs(np.array([top, left, *sides]) - region).max() < 1e-3
    if inside and (sides < (1.5 * size if rounding else size + 1)).all() and (rounding or whole):
        part = image[top:bottom, left:right]
        if (sides == size).all():
            return np.asarray(part)
        floats = tf.raw_ops.ResizeBilinear(images=part[tf.newaxis], size=[size, size], half_pixel_centers=True)[0]
        return np.asarray(tf.cast(tf.round(floats), tf.uint8))
    scale = size / region[2:]
    floats = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis], size=[size, size], scale=scale, translation=-region[:2] * scale,
        kernel_type="triangle", antialias=True,
    )[0]  # fmt: skip
    return np.asarray(tf.cast(tf.clip_by_value(tf.round(floats), 0, 255), tf.uint8))
