"""Training examples in the random order of an epoch, from shard files or from memory, and how one is augmented."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from dogbreed.data.augment import NUM_RANDOMS, Augment, random_flip
from dogbreed.data.example_decoder import ExampleDecoder, augment_region

SHUFFLE_BLOCK = 2048  # encoded images: 16 MB at 128 px, 50 MB at 224 px
SHARDS_AT_ONCE = 4  # read side by side, so that a batch mixes shards

# For functions of a dataset: they use tf.cond themselves, and AutoGraph takes 1 to 2 s to convert them in each process
do_not_convert = tf.autograph.experimental.do_not_convert


class TrainSource(Protocol):
    """The training examples in a form that can be shuffled cheaply."""

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Return all examples in the order of a seed, int64 [2]."""

    def augment(self, example: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return image, uint8 [size, size, 3], and label, int32 []; draw: float32 [NUM_RANDOMS] in 0 to 1."""


class ShardSource:
    """Serialized examples, read from shard files in every epoch; see TrainSource."""

    def __init__(self, paths: Sequence[str], decoder: ExampleDecoder) -> None:
        self._paths = tf.constant(paths, tf.string)
        self._decoder = decoder

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        examples = read_examples(tf.random.experimental.stateless_shuffle(self._paths, seed))
        # Dataset.shuffle takes no seed that is a tensor, so blocks of examples are shuffled instead
        mixed, blocks = _fold_seed(seed), examples.batch(SHUFFLE_BLOCK).enumerate()
        return blocks.map(
            lambda number, block: tf.random.experimental.stateless_shuffle(block, tf.stack([mixed, number]))
        ).unbatch()

    def augment(self, example: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._decoder.train_example(example, augment, draw)


class MemorySource:
    """Places of decoded images, which are in memory as the model sees them; see TrainSource.

    images: uint8 [n, size, size, 3]; labels: int32 [n].
    """

    def __init__(self, images: tf.Tensor, labels: tf.Tensor, size: int) -> None:
        self._images, self._labels, self._size = images, labels, size
        self._region = tf.constant([0.0, 0.0, size, size])

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        places = tf.range(len(self._labels))
        return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(places, seed))

    def augment(self, example: tf.Tensor, augment: Augment, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = self._images[example], self._labels[example]
        if augment.has_random_crop:
            return augment_region(image, self._region, self._size, augment, draw), label
        return random_flip(image, draw) if augment.hflip else image, label


def read_examples(paths: tf.Tensor) -> tf.data.Dataset:
    """Return the serialized examples, string [], of the shard files at `paths`, string [n], in a fixed order."""
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, cycle_length=SHARDS_AT_ONCE, num_parallel_calls=2, deterministic=True
    )


def draw_randoms(seed: tf.Tensor) -> tf.data.Dataset:
    """Return endless float32 [NUM_RANDOMS] in 0 to 1, other numbers than those that shuffle with the same seed.

    They are drawn in blocks: a generator for each image takes as long as a flip.
    """
    mixed = _fold_seed(seed + 1)
    blocks = tf.data.Dataset.counter()
    return blocks.map(
        lambda number: tf.random.stateless_uniform([SHUFFLE_BLOCK, NUM_RANDOMS], tf.stack([mixed, number]))
    ).unbatch()


def _fold_seed(seed: tf.Tensor) -> tf.Tensor:
    """Return int64 [], a seed made of two."""
    return tf.random.stateless_uniform([], seed, maxval=2**62, dtype=tf.int64)
