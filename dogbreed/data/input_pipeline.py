"""tf.data batches from a manifest, for any dataset and recipe: uint8 `[batch, size, size, 3]` and int32 labels.

Every model rescales pixels inside its own graph.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dogbreed.core import canonical_json, resources
from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import Store
from dogbreed.data.augment import Augment
from dogbreed.data.batch_shard import BatchShard
from dogbreed.data.decoded_images import DecodedFile, decode_into_memory
from dogbreed.data.decoded_source import DecodedViews, DiskSource, MemorySource
from dogbreed.data.example_decoder import ExampleDecoder
from dogbreed.data.examples import FEATURES, SIDES
from dogbreed.data.manifest import Manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.shard_files import cache_shards, check_cache_space
from dogbreed.data.splits import TRAIN
from dogbreed.data.train_source import (
    SHUFFLE_BLOCK,
    PixelSource,
    ShardSource,
    TrainSource,
    do_not_convert,
    read_examples,
)

CACHES = ("none", "memory", "disk")  # of decoded train images
PIXELS = 1  # raised by hand whenever decoding or resizing gives other pixels: tests/data/test_views.py
EVAL_BLOCK = 64  # examples that are parsed together
IMAGES_PER_CORE = 8  # processed at a time, so that decoding continues while a batch is copied


class InputPipeline:
    """Batches of one dataset in the size and resize mode of one model."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        view: ResizeSpec,
        batch_size: int,
        cache: Path,
        batch_shard: BatchShard | None = None,
    ) -> None:
        """`cache` is the folder for local copies of remote shards.

        Raises:
            DataError: the dataset's images are smaller than `view`, or squashed where it keeps the aspect ratio.
        """
        size = int(manifest.config["size"])
        if size < view.size:
            raise DataError(
                f"{view.size} px requested, the dataset has {size} px; run jobs.preprocess --size {view.size} "
                "to another prefix, or choose a smaller recipe"
            )
        if manifest.config["resize_mode"] == "squash" and view.mode != "squash":
            raise DataError(
                f"the dataset holds squashed squares, the recipe's resize mode is {view.mode}; "
                "use --set resize_mode=squash, or run jobs.preprocess --resize-mode keep-aspect to another prefix"
            )
        self._manifest, self._view, self._batch = manifest, view, batch_size
        self._still = ExampleDecoder(manifest.config, view, Augment())  # without augmentation
        self.batch_shard = batch_shard or BatchShard()  # of the training batches
        self._store, self._cache = store, cache
        self._parallel = IMAGES_PER_CORE * resources.cores()
        self._local: dict[str, list[str]] = {}

    @property
    def dataset_digest(self) -> str:
        """The digest of the dataset's manifest."""
        return self._manifest.digest

    def without_shard(self) -> "InputPipeline":
        """Return a pipeline whose training batches are whole."""
        whole = copy.copy(self)
        whole.batch_shard = BatchShard()
        return whole

    def with_view(self, view: ResizeSpec) -> "InputPipeline":
        """Return a pipeline with the same crops in another size and resize mode; DataError as of `__init__`."""
        other = InputPipeline(self._manifest, self._store, view, self._batch, self._cache, self.batch_shard)
        other._local = self._local
        return other

    @property
    def view(self) -> ResizeSpec:
        """How evaluation batches show an image."""
        return self._view

    def with_zoom(self, zoom: float) -> "InputPipeline":
        """Return a pipeline whose evaluation batches are zoomed, see `ResizeSpec`; training batches never are."""
        zoomed = copy.copy(self)
        zoomed._view = replace(self._view, zoom=zoom)
        zoomed._still = ExampleDecoder(self._manifest.config, zoomed._view, Augment())
        return zoomed

    def check_cache_space(self, *splits: str) -> None:
        """Raise EnvironmentUnsupported or RetryableError if the local copies of some splits would not fit together."""
        shards = [shard for split in splits for shard in self._manifest.split(split).shards]
        check_cache_space(self._store, shards, self._cache)

    def first_jpeg(self) -> bytes:
        """Return the first train image, encoded."""
        example = next(iter(tf.data.TFRecordDataset(self._paths(TRAIN)[0])))
        return bytes(tf.io.parse_single_example(example, FEATURES)["image/encoded"].numpy())

    def num_examples(self, split: str) -> int:
        """Return the number of examples in a split."""
        return self._manifest.split(split).num_examples

    def mean_example_bytes(self, split: str) -> int:
        """Return the mean length of a serialized example, with its encoded image."""
        shards = self._manifest.split(split).shards
        return sum(shard.bytes for shard in shards) // max(1, self.num_examples(split))

    def steps_per_epoch(self, split: str) -> int:
        """Return the number of whole training batches in one epoch, at least 1."""
        return max(1, self.num_examples(split) // self._batch)

    def eval_batches(self, split: str) -> tf.data.Dataset:
        """Return every example of `split` once, in a fixed order."""
        images = self._eval_views(split).map(do_not_convert(self._still.image), num_parallel_calls=self._parallel)
        batches = _batch(images, self._batch, drop_remainder=False)
        # without a length, Keras warns that the data ran out
        return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(self.num_examples(split) / self._batch)))

    def keys(self, split: str) -> list[str]:
        """Return the source ids of the examples in the order of `eval_batches`."""
        return [key.decode() for key in self.column(split, "image/source_id")]

    def counts(self, split: str) -> np.ndarray:
        """Return int64 [classes], the number of examples of each class."""
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
        blocks = self._examples(split).batch(SHUFFLE_BLOCK)
        values = blocks.map(do_not_convert(lambda block: tf.io.parse_example(block, feature)[name]))
        return np.concatenate(list(values.as_numpy_iterator()))

    def images_at(self, split: str, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the images at some places in the order of `eval_batches`, uint8 [len(places), size, size, 3].

        Only these are decoded.
        """
        wanted = tf.constant(np.unique(places), tf.int64)
        is_wanted = do_not_convert(lambda place, _: tf.reduce_any(place == wanted))
        decode = do_not_convert(lambda place, view: (place, self._still.image(view)[0]))
        chosen = self._eval_views(split).enumerate().filter(is_wanted).map(decode, num_parallel_calls=self._parallel)
        images = {int(place): image for place, image in chosen.as_numpy_iterator()}
        blank = np.empty((0, self._view.size, self._view.size, 3), np.uint8)
        return np.stack([images[int(place)] for place in places]) if len(places) else blank

    def train_batches(
        self,
        augment: Augment,
        seed: int,
        epochs: int,
        cache: str = "none",
        start: tuple[int, int] = (0, 0),
        views: int = 0,
    ) -> tf.data.Dataset:
        """Return `epochs` passes of `steps_per_epoch("train")` batches, shuffled and augmented by (seed, epoch).

        Each epoch leaves out a different remainder smaller than one batch. Of each batch only this worker's share
        (`batch_shard`) is decoded and returned.

        Args:
            augment: ranges of the random augmentations.
            seed: of order and augmentations.
            epochs: number of the last epoch, from 1.
            cache: one of CACHES; memory and disk: keep all train images as the model sees them, and cut random crops
                from those.
            start: (epoch, batch) of the first batch; earlier examples are skipped, not decoded.
            views: so many epochs differ, then the first one comes again; 0: all do.

        Raises:
            UsageError: the margins of cached crops would change.
            EnvironmentUnsupported, RetryableError: the decoded images would not fit into memory, or the scratch folder.
        """
        if cache != "none" and augment.margin_jitter:
            raise UsageError(
                f"augment.margin_jitter moves the edges of crops, which --cache {cache} keeps; use --cache none"
            )
        source = self.with_zoom(1.0)._source(cache, augment)
        if augment.has_colour_jitter or augment.trivial_augment:
            source = PixelSource(source, augment)
        planned = self._train_views(source, seed, epochs, start, views or epochs)
        images = planned.map(do_not_convert(source.image), num_parallel_calls=self._parallel)
        places = np.arange(min(self._batch, self.num_examples(TRAIN)))
        return _batch(images, int(np.sum(self._contains(places))), drop_remainder=True)

    def _train_views(
        self, source: TrainSource, seed: int, epochs: int, start: tuple[int, int], period: int
    ) -> tf.data.Dataset:
        """Return what a model sees of each example that it learns from; see `train_batches`.

        All epochs flow through the same operations, because to start these anew takes as long as a hundred images.
        """
        first, passed = tf.constant(start[0], tf.int64), start[1] * self._batch
        used = self.steps_per_epoch(TRAIN) * self._batch

        def seed_of(epoch: tf.Tensor) -> tf.Tensor:
            return tf.stack([tf.constant(seed, tf.int64), epoch % period])

        def blocks(epoch: tf.Tensor) -> tf.data.Dataset:
            same = tf.data.Dataset.from_tensors(epoch).repeat()
            return tf.data.Dataset.zip(same, tf.data.Dataset.counter(), source.blocks(seed_of(epoch)))

        def plan(epoch: tf.Tensor, number: tf.Tensor, block: Any) -> Any:
            count = tf.size(tf.nest.flatten(block)[0], tf.int64)
            place = number * SHUFFLE_BLOCK + tf.range(count)
            wanted = (place < used) & ((epoch > first) | (place >= passed)) & self._contains(place % self._batch)
            return source.plan(block, number, wanted, seed_of(epoch))

        epochs_of_blocks = tf.data.Dataset.range(start[0], epochs).flat_map(do_not_convert(blocks))
        return epochs_of_blocks.map(do_not_convert(plan)).prefetch(1).unbatch()  # planned while another is decoded

    def _contains(self, place: Any) -> Any:
        """Return, as bool [...], which places of a training batch are this worker's."""
        return self.batch_shard.contains(place, self._batch)

    def _source(self, cache: str, augment: Augment) -> TrainSource:
        views = DecodedViews(self._view.size, augment)
        if cache == "memory":
            decoded = decode_into_memory(self.eval_batches(TRAIN), self.num_examples(TRAIN), self._view.size)
            return MemorySource(*decoded, views)
        if cache == "disk":
            return self._disk_source(views)
        return ShardSource(self._paths(TRAIN), ExampleDecoder(self._manifest.config, self._view, augment))

    def _disk_source(self, views: DecodedViews) -> DiskSource:
        """Open the file of decoded train images, which is filled when they are first needed."""
        paths, lengths = self._paths(TRAIN), [shard.num_examples for shard in self._manifest.split(TRAIN).shards]
        pixels = {
            "version": PIXELS,
            "dataset": self._manifest.digest,
            "view": self._view.to_dict(),
            "tensorflow": tf.__version__,
        }
        file = DecodedFile(canonical_json.digest(pixels), self.num_examples(TRAIN), self._view.size)
        return DiskSource(paths, lengths, self._still, file, views)

    def _paths(self, split: str) -> list[str]:
        """Return the verified local files of a split's shards; they are downloaded at the first call."""
        if split not in self._local:
            shards = self._manifest.split(split).shards
            self._local[split] = [str(path) for path in cache_shards(self._store, shards, self._cache)]
        return self._local[split]

    def _eval_views(self, split: str) -> tf.data.Dataset:
        """Return what a model sees of each example of a split, in a fixed order."""
        blocks = self._examples(split).batch(EVAL_BLOCK)
        return blocks.map(do_not_convert(self._still.plan)).prefetch(1).unbatch()

    def _examples(self, split: str) -> tf.data.Dataset:
        return read_examples(tf.constant(self._paths(split), tf.string))


def _batch(images: tf.data.Dataset, size: int, drop_remainder: bool) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing is left to tune, and its thread costs up to a tenth of the time
    return images.batch(size, drop_remainder=drop_remainder).prefetch(2).with_options(options)
