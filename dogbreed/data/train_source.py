"""Training examples in the random order of an epoch, from shard files or from memory, and how one is augmented."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from dogbreed.data.augment import NUM_RANDOMS, Augment, is_mirrored, mirror, random_resized_crop_box
from dogbreed.data.example_decoder import ExampleDecoder, View
from dogbreed.data.resize import Square, cut_square, plan_squares

SHUFFLE_BLOCK = 2048  # encoded images: 16 MB at 128 px, 50 MB at 224 px
SHARDS_AT_ONCE = 4  # read side by side, so that a batch mixes shards

# For functions of a dataset: they use tf.cond themselves, and AutoGraph takes 1 to 2 s to convert them in each process
do_not_convert = tf.autograph.experimental.do_not_convert


class TrainSource(Protocol):
    """The training examples in a form that can be shuffled cheaply, in blocks of SHUFFLE_BLOCK."""

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Return all examples in the order of a seed, int64 [2], but for the order within a block."""

    def plan(self, block: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> Any:
        """Return what a model sees of the wanted examples of a block, as a tuple of [k, ...] tensors.

        Args:
            block: of n examples.
            number: int64 [], the block's in its epoch.
            wanted: bool [n], k of which are true, by place in the shuffled block.
            seed: int64 [2], of the epoch.
        """

    def image(self, view: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return image, uint8 [size, size, 3], and label, int32 [], of one example that was planned."""


class ShardSource:
    """Serialized examples, string [n], read from shard files in every epoch; see TrainSource."""

    def __init__(self, paths: Sequence[str], decoder: ExampleDecoder) -> None:
        self._paths = tf.constant(paths, tf.string)
        self._decoder = decoder
        self.image = decoder.image

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        return read_examples(tf.random.experimental.stateless_shuffle(self._paths, seed)).batch(SHUFFLE_BLOCK)

    def plan(self, block: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> View:
        # Dataset.shuffle takes no seed that is a tensor, so blocks of examples are shuffled instead
        key = tf.stack([_fold_seed(seed), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(block)), key)
        examples = tf.gather(block, tf.boolean_mask(order, wanted))
        return self._decoder.plan(examples, draw_randoms(seed, number, wanted))


class DecodedView(NamedTuple):
    """A decoded image and what a model sees of it; of n images, each field is [n, ...]."""

    place: tf.Tensor  # int32 []
    square: Square
    mirrored: tf.Tensor  # bool []


class MemorySource:
    """Places of decoded images, which are in memory as the model sees them; see TrainSource.

    images: uint8 [n, size, size, 3]; labels: int32 [n].
    """

    def __init__(self, images: tf.Tensor, labels: tf.Tensor, size: int, augment: Augment) -> None:
        self._images, self._labels, self._size, self._augment = images, labels, size, augment

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        places = tf.random.experimental.stateless_shuffle(tf.range(len(self._labels)), seed)
        return tf.data.Dataset.from_tensor_slices(places).batch(SHUFFLE_BLOCK)

    def plan(self, block: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> DecodedView:
        draws, places = draw_randoms(seed, number, wanted), tf.boolean_mask(block, wanted)
        whole = tf.tile([[0.0, 0.0, self._size, self._size]], [tf.size(places), 1])
        region = random_resized_crop_box(whole, self._augment, draws)
        return DecodedView(places, plan_squares(whole, region, self._size, True), is_mirrored(draws))

    def image(self, view: DecodedView) -> tuple[tf.Tensor, tf.Tensor]:
        image = self._images[view.place]
        if self._augment.has_random_crop:
            image = cut_square(image, view.square, self._size, may_reduce=False)
        return mirror(image, view.mirrored) if self._augment.hflip else image, self._labels[view.place]


def read_examples(paths: tf.Tensor) -> tf.data.Dataset:
    """Return the serialized examples, string [], of the shard files at `paths`, string [n], in a fixed order."""
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, cycle_length=SHARDS_AT_ONCE, num_parallel_calls=2, deterministic=True
    )


def draw_randoms(seed: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return float32 [k, NUM_RANDOMS] in 0 to 1 for the wanted examples of a block, see `TrainSource.plan`."""
    key = tf.stack([_fold_seed(seed + 1), number])  # other numbers than those that shuffle
    draws = tf.random.stateless_uniform([SHUFFLE_BLOCK, NUM_RANDOMS], key)
    return tf.boolean_mask(draws[: tf.size(wanted)], wanted)


def _fold_seed(seed: tf.Tensor) -> tf.Tensor:
    """Return int64 [], a seed made of two."""
    return tf.random.stateless_uniform([], seed, maxval=2**62, dtype=tf.int64)
