"""tf.data from a manifest: whatever the dataset and the recipe, uint8 `[batch, size, size, 3]` and int32 labels.

Every model does its own rescaling inside its graph.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from dogbreed.core import resources
from dogbreed.core.errors import DataError
from dogbreed.core.storage import Store
from dogbreed.data.augment import NUM_RANDOMS, Augment, jitter_margin, random_flip, random_resized_crop_box
from dogbreed.data.examples import FEATURES, SIDES
from dogbreed.data.manifest import Manifest, cache_shards
from dogbreed.data.resize import ResizeSpec, crop_and_resize, crop_to_region, decode, fit_region
from dogbreed.data.splits import TRAIN

SHUFFLE_BLOCK = 2048  # encoded photos: 16 MB at 128 px, 50 MB at 224 px
SHARDS_AT_ONCE = 4  # read side by side, so that a batch mixes shards
STORED = ("image/encoded", "image/class/label", "image/height", "image/width")
ORIGINAL = ("image/original/height", "image/original/width", *(f"image/original/bbox/{side}" for side in SIDES))

ShuffleFn = Callable[[tf.Tensor], tf.data.Dataset]  # the examples of an epoch in the order of its seed
AugmentFn = Callable[[tf.Tensor, Augment, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]  # example, draw -> photo, label


@dataclass(frozen=True)
class BatchShard:
    """The part of each training batch that one of several workers learns from.

    Photo i of a batch of n may be mixed with photo n - 1 - i (augment.cutmix_prob), so both are the same worker's.
    """

    index: int = 0
    workers: int = 1

    def contains(self, place: tf.Tensor, batch: int) -> tf.Tensor:
        """Say, as bool [...], which places of a batch of `batch` photos, a multiple of 2 * workers, are in it."""
        outer = tf.minimum(place, batch - 1 - place)  # the place nearer to an end of the batch
        return outer // (batch // 2 // self.workers) == self.index


class InputPipeline:
    """Batches of one dataset as one view shows them."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        view: ResizeSpec,
        batch_size: int,
        cache: Path,
        batch_shard: BatchShard | None = None,
    ) -> None:
        """Copies of remote shards go to the folder `cache`; DataError when photos are smaller than the view."""
        size = int(manifest.config["size"])
        if size < view.size:
            raise DataError(
                f"{view.size} px asked for, the dataset has {size} px; run jobs.preprocess --size {view.size} "
                "to another prefix, or choose a smaller recipe"
            )
        if manifest.config["resize_mode"] == "squash" and view.mode != "squash":
            raise DataError(
                f"the dataset holds squashed squares, the recipe's resize mode is {view.mode}; "
                "use --set resize_mode=squash, or run jobs.preprocess --resize-mode keep-aspect to another prefix"
            )
        self._manifest, self._view, self._batch = manifest, view, batch_size
        self.batch_shard = batch_shard or BatchShard()  # of the training batches
        self._store, self._cache = store, cache
        self._parallel = resources.cores()
        self._local: dict[str, list[str]] = {}

    def first_jpeg(self) -> bytes:
        """Return the first train photo, encoded."""
        record = next(iter(tf.data.TFRecordDataset(self._paths(TRAIN)[0])))
        return bytes(tf.io.parse_single_example(record, FEATURES)["image/encoded"].numpy())

    def num_examples(self, split: str) -> int:
        """Return the number of examples in a split."""
        return self._manifest.split(split).num_examples

    def mean_example_bytes(self, split: str) -> int:
        """Return the mean length of a record, which holds an encoded photo."""
        shards = self._manifest.split(split).shards
        return sum(shard.bytes for shard in shards) // max(1, self.num_examples(split))

    def steps_per_epoch(self, split: str) -> int:
        """Return the number of whole training batches in one epoch, at least 1."""
        return max(1, self.num_examples(split) // self._batch)

    def eval_batches(self, split: str) -> tf.data.Dataset:
        """Return every record of `split` once, in a fixed order."""
        records = self._read(tf.constant(self._paths(split), tf.string))
        batches = self._finish(records.map(self._eval_example, num_parallel_calls=self._parallel), False, self._batch)
        # without a length, Keras warns that the data ran out
        return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(self.num_examples(split) / self._batch)))

    def keys(self, split: str) -> list[str]:
        """Return the keys of the records in the order of `eval_batches`."""
        return [key.decode() for key in self.column(split, "image/source_id")]

    def counts(self, split: str) -> np.ndarray:
        """Return int64 [classes], the records of each class."""
        return np.bincount(self.column(split, "image/class/label"), minlength=len(self._manifest.classes))

    def boxes(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes, float32 [n, 4] (left, top, right, bottom), and sizes, int64 [n, 2] (width, height).

        Both are in pixels of the source images, in the order of `eval_batches`.
        """
        boxes = np.stack([self.column(split, f"image/original/bbox/{side}") for side in SIDES], axis=1)
        sizes = np.stack([self.column(split, f"image/original/{side}") for side in ("width", "height")], axis=1)
        return boxes, sizes

    def column(self, split: str, name: str) -> np.ndarray:
        """Return one of `examples.FEATURES` of all examples, [n], in the order of `eval_batches`."""
        feature = {name: FEATURES[name]}
        blocks = self._read(tf.constant(self._paths(split), tf.string)).batch(SHUFFLE_BLOCK)
        found = blocks.map(lambda block: tf.io.parse_example(block, feature)[name])
        return np.concatenate(list(found.as_numpy_iterator()))

    def images_at(self, split: str, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return some records' photos, uint8 [len(places), size, size, 3]; a place counts in the order of
        `eval_batches`.

        Only these are decoded.
        """
        wanted = tf.constant(np.unique(places), tf.int64)
        records = self._read(tf.constant(self._paths(split), tf.string)).enumerate()
        chosen = records.filter(lambda place, _: tf.reduce_any(place == wanted))
        found = {int(place): self._eval_example(record)[0].numpy() for place, record in chosen}
        blank = np.empty((0, self._view.size, self._view.size, 3), np.uint8)
        return np.stack([found[int(place)] for place in places]) if len(places) else blank

    def train_batches(
        self, augment: Augment, seed: int, epochs: int, decoded: bool = False, start: tuple[int, int] = (0, 0)
    ) -> tf.data.Dataset:
        """Return `epochs` passes of `steps_per_epoch("train")` batches, shuffled and augmented by (seed, epoch).

        Each epoch leaves out a different remainder smaller than one batch. With `decoded` all train photos are kept in
        memory as the view shows them, and random views are cut from those. EnvironmentUnsupported when they would not
        fit.
        start: (epoch, batch) of the first batch that is wanted; records before it are passed over, not decoded.
        Of each batch only this worker's share is decoded and returned.
        """
        shuffle, view = self._from_memory() if decoded else self._from_shards()
        size = self._batch // self.batch_shard.workers
        first, passed = tf.constant(start[0], tf.int64), tf.constant(start[1] * size, tf.int64)

        def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
            examples = self._shared(tf.data.Dataset.zip(shuffle(epoch_seed), _draws(epoch_seed)))
            wanted = examples.skip(tf.where(epoch == first, passed, tf.constant(0, tf.int64)))
            views = wanted.map(lambda example, draw: view(example, augment, draw), num_parallel_calls=self._parallel)
            return self._finish(views, self.num_examples(TRAIN) >= self._batch, size)

        return tf.data.Dataset.range(start[0], epochs).flat_map(epoch_batches).prefetch(2)

    def _shared(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Return this worker's share of the examples of an epoch."""
        if self.batch_shard.workers == 1:
            return examples
        whole = self.steps_per_epoch(TRAIN) * self._batch  # a share of the rest would be a batch of its own
        numbered = examples.enumerate().filter(
            lambda number, example: (number < whole) & self.batch_shard.contains(number % self._batch, self._batch)
        )
        return numbered.map(lambda number, example: example)

    def _from_shards(self) -> tuple[ShuffleFn, AugmentFn]:
        """Return how the train records of an epoch are shuffled, and how one becomes a random view."""
        paths = tf.constant(self._paths(TRAIN), tf.string)

        def shuffle(seed: tf.Tensor) -> tf.data.Dataset:
            records = self._read(tf.random.experimental.stateless_shuffle(paths, seed))
            # Dataset.shuffle takes no seed that is a tensor, so blocks of records are shuffled instead
            mixed, blocks = _fold_seed(seed), records.batch(SHUFFLE_BLOCK).enumerate()
            return blocks.map(
                lambda number, block: tf.random.experimental.stateless_shuffle(block, tf.stack([mixed, number]))
            ).unbatch()

        return shuffle, self._train_example

    def _from_memory(self) -> tuple[ShuffleFn, AugmentFn]:
        """Return the same for the places of decoded photos, which are loaded first."""
        photos, labels = self._load(TRAIN)
        whole = tf.constant([0.0, 0.0, self._view.size, self._view.size])

        def shuffle(seed: tf.Tensor) -> tf.data.Dataset:
            places = tf.range(len(labels))
            return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(places, seed))

        def view(place: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if augment.has_random_crop:
                return self._augment(photos[place], whole, augment, draw), labels[place]
            return random_flip(photos[place], draw) if augment.hflip else photos[place], labels[place]

        return shuffle, view

    def _load(self, split: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a split's uint8 photos [n, size, size, 3] and int32 labels [n]."""
        size, records = self._view.size, self.num_examples(split)
        needed = 2 * records * size * size * 3  # twice for a moment, while the array becomes a tensor
        resources.check_memory(needed, f"{records} decoded photos of {size} px (train with --cache none)")
        photos, labels = np.empty((records, size, size, 3), np.uint8), np.empty(records, np.int32)
        start = 0
        for images, truth in self.eval_batches(split).as_numpy_iterator():
            photos[start : start + len(truth)], labels[start : start + len(truth)] = images, truth
            start += len(truth)
        with tf.device("CPU"):  # a GPU's memory is for the model
            return tf.constant(photos), tf.constant(labels)

    def _paths(self, split: str) -> list[str]:
        """Return the verified local files of a split's shards; they are fetched at the first call."""
        if split not in self._local:
            shards = self._manifest.split(split).shards
            self._local[split] = [str(path) for path in cache_shards(self._store, shards, self._cache)]
        return self._local[split]

    def _read(self, paths: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(paths).interleave(
            tf.data.TFRecordDataset, cycle_length=SHARDS_AT_ONCE, num_parallel_calls=2, deterministic=True
        )

    def _finish(self, examples: tf.data.Dataset, drop: bool, size: int) -> tf.data.Dataset:
        return examples.batch(size, drop_remainder=drop).prefetch(2)

    def _eval_example(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        photo, region, label = self._decode(record, self._manifest.config["margin"])
        return crop_and_resize(photo, fit_region(region, self._view.mode), self._view.size), label

    def _train_example(self, record: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        photo, region, label = self._decode(record, jitter_margin(self._manifest.config["margin"], augment, draw))
        return self._augment(photo, fit_region(region, self._view.mode), augment, draw), label

    def _augment(self, photo: tf.Tensor, region: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tf.Tensor:
        """Return a random view of a region, uint8 [size, size, 3]."""
        if augment.has_random_crop:
            region = random_resized_crop_box(region, augment, draw)
        image = crop_and_resize(photo, region, self._view.size, allow_rounding=augment.has_random_crop)
        return random_flip(image, draw) if augment.hflip else image

    def _decode(self, record: tf.Tensor, margin: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the pixels, the region of interest [top, left, height, width] in them, and the label."""
        deferred = self._manifest.config["crop"] == "defer"
        names = (*STORED, *ORIGINAL) if deferred else STORED
        example = tf.io.parse_single_example(record, {name: FEATURES[name] for name in names})
        label = tf.cast(example["image/class/label"], tf.int32)
        whole = tf.cast(tf.stack([example["image/height"], example["image/width"]]), tf.float32)
        region = _box(example, whole, margin) if deferred else tf.concat([[0.0, 0.0], whole], 0)
        # half the pixels are enough where 1.5 times the view's side remain for the random views
        photo = decode(example["image/encoded"], tf.reduce_min(region[2:]) >= 3 * self._view.size)
        region *= tf.tile(tf.cast(tf.shape(photo)[:2], tf.float32) / whole, [2])
        if deferred:
            photo, region = crop_to_region(photo, region)
        return photo, region, label


def _draws(seed: tf.Tensor) -> tf.data.Dataset:
    """Return endless float32 [DRAWS] in 0 to 1, drawn by the block: a generator for each photo takes as long as a flip.

    They differ from those that shuffle with the same seed.
    """
    mixed = _fold_seed(seed + 1)
    blocks = tf.data.Dataset.counter()
    return blocks.map(
        lambda number: tf.random.stateless_uniform([SHUFFLE_BLOCK, NUM_RANDOMS], tf.stack([mixed, number]))
    ).unbatch()


def _fold_seed(seed: tf.Tensor) -> tf.Tensor:
    """Return int64 [], a seed made of two."""
    return tf.random.stateless_uniform([], seed, maxval=2**62, dtype=tf.int64)


def _box(example: dict[str, tf.Tensor], whole: tf.Tensor, margin: tf.Tensor | float) -> tf.Tensor:
    """Return the box with its margin as [top, left, height, width] of a photo of `whole` [height, width] pixels."""
    left, top, right, bottom = (example[f"image/original/bbox/{side}"] for side in SIDES)
    x, y = margin * (right - left), margin * (bottom - top)
    width = tf.cast(example["image/original/width"], tf.float32)
    height = tf.cast(example["image/original/height"], tf.float32)
    left, right = tf.clip_by_value(left - x, 0, width), tf.clip_by_value(right + x, 0, width)
    top, bottom = tf.clip_by_value(top - y, 0, height), tf.clip_by_value(bottom + y, 0, height)
    scale = whole / tf.stack([height, width])
    return tf.stack([top, left, bottom - top, right - left]) * tf.tile(scale, [2])
