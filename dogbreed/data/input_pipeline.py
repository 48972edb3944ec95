"""tf.data batches from a manifest, for any dataset and recipe: uint8 `[batch, size, size, 3]` and int32 labels.

Every model rescales pixels inside its own graph.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from dogbreed.core import resources
from dogbreed.core.errors import DataError
from dogbreed.core.storage import Store
from dogbreed.data.augment import Augment
from dogbreed.data.example_decoder import ExampleDecoder
from dogbreed.data.examples import FEATURES, SIDES
from dogbreed.data.manifest import Manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.shard_files import cache_shards, check_cache_space
from dogbreed.data.splits import TRAIN
from dogbreed.data.train_source import (
    SHUFFLE_BLOCK,
    MemorySource,
    ShardSource,
    TrainSource,
    do_not_convert,
    draw_randoms,
    read_examples,
)


@dataclass(frozen=True)
class BatchShard:
    """The part of each training batch that one of several workers processes.

    Image i of a batch of n may be mixed with image n - 1 - i (augment.cutmix_prob), so both belong to the same worker.
    """

    index: int = 0
    workers: int = 1

    def contains(self, place: tf.Tensor, batch: int) -> tf.Tensor:
        """Return, as bool [...], which places of a batch of `batch` images (a multiple of 2 * workers) are in it."""
        outer = tf.minimum(place, batch - 1 - place)  # the place nearer to an end of the batch
        return outer // (batch // 2 // self.workers) == self.index


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
        self._decoder = ExampleDecoder(manifest.config, view)
        self.batch_shard = batch_shard or BatchShard()  # of the training batches
        self._store, self._cache = store, cache
        self._parallel = resources.cores()
        self._local: dict[str, list[str]] = {}

    def without_shard(self) -> "InputPipeline":
        """Return a pipeline whose training batches are whole."""
        whole = copy.copy(self)
        whole.batch_shard = BatchShard()
        return whole

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
        images = self._examples(split).map(
            do_not_convert(self._decoder.eval_example), num_parallel_calls=self._parallel
        )
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
        chosen = self._examples(split).enumerate().filter(is_wanted)
        with tf.device("CPU"):  # a GPU would get each image, and give it back
            images = {int(place): self._decoder.eval_example(example)[0].numpy() for place, example in chosen}
        blank = np.empty((0, self._view.size, self._view.size, 3), np.uint8)
        return np.stack([images[int(place)] for place in places]) if len(places) else blank

    def train_batches(
        self, augment: Augment, seed: int, epochs: int, decoded: bool = False, start: tuple[int, int] = (0, 0)
    ) -> tf.data.Dataset:
        """Return `epochs` passes of `steps_per_epoch("train")` batches, shuffled and augmented by (seed, epoch).

        Each epoch leaves out a different remainder smaller than one batch. Of each batch only this worker's share
        (`batch_shard`) is decoded and returned.

        Args:
            augment: ranges of the random augmentations.
            seed: of order and augmentations.
            epochs: number of the last epoch, from 1.
            decoded: keep all train images in memory as the model sees them, and cut random crops from those.
            start: (epoch, batch) of the first batch; earlier examples are skipped, not decoded.

        Raises:
            EnvironmentUnsupported: the decoded images would not fit into memory.
        """
        source = self._memory_source() if decoded else ShardSource(self._paths(TRAIN), self._decoder)
        size = self._batch // self.batch_shard.workers
        first, passed = tf.constant(start[0], tf.int64), tf.constant(start[1] * size, tf.int64)

        def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
            examples = self._shared(tf.data.Dataset.zip(source.epoch(epoch_seed), draw_randoms(epoch_seed)))
            wanted = examples.skip(tf.where(epoch == first, passed, tf.constant(0, tf.int64)))
            images = wanted.map(
                lambda example, draw: source.augment(example, augment, draw), num_parallel_calls=self._parallel
            )
            return _batch(images, size, drop_remainder=self.num_examples(TRAIN) >= self._batch)

        return tf.data.Dataset.range(start[0], epochs).flat_map(do_not_convert(epoch_batches)).prefetch(2)

    def _shared(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Return this worker's share of the examples of an epoch."""
        if self.batch_shard.workers == 1:
            return examples
        whole = self.steps_per_epoch(TRAIN) * self._batch  # a share of the rest would be a batch of its own
        numbered = examples.enumerate().filter(
            lambda number, example: (number < whole) & self.batch_shard.contains(number % self._batch, self._batch)
        )
        return numbered.map(lambda number, example: example)

    def _memory_source(self) -> TrainSource:
        """Decode all train images into memory."""
        size, count = self._view.size, self.num_examples(TRAIN)
        needed = 2 * count * size * size * 3  # twice for a moment, while the array becomes a tensor
        resources.check_memory(needed, f"{count} decoded images of {size} px (train with --cache none)")
        images, labels = np.empty((count, size, size, 3), np.uint8), np.empty(count, np.int32)
        start = 0
        for batch, batch_labels in self.eval_batches(TRAIN).as_numpy_iterator():
            end = start + len(batch_labels)
            images[start:end], labels[start:end] = batch, batch_labels
            start = end
        with tf.device("CPU"):  # a GPU's memory is for the model
            return MemorySource(tf.constant(images), tf.constant(labels), size)

    def _paths(self, split: str) -> list[str]:
        """Return the verified local files of a split's shards; they are downloaded at the first call."""
        if split not in self._local:
            shards = self._manifest.split(split).shards
            self._local[split] = [str(path) for path in cache_shards(self._store, shards, self._cache)]
        return self._local[split]

    def _examples(self, split: str) -> tf.data.Dataset:
        return read_examples(tf.constant(self._paths(split), tf.string))


def _batch(images: tf.data.Dataset, size: int, drop_remainder: bool) -> tf.data.Dataset:
    return images.batch(size, drop_remainder=drop_remainder).prefetch(2)
