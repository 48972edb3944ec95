"""Training examples in the random order of an epoch, read from shard files, and how one is augmented."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from dogbreed.data.augment import NUM_RANDOMS, Augment, Draws, to_draws
from dogbreed.data.colour import adjust_colour
from dogbreed.data.example_decoder import ExampleDecoder, View
from dogbreed.data.trivial_augment import NUM_CHOICES, Chosen, choose_operations, trivial_augment

SHUFFLE_BLOCK = 2048  # encoded images: 16 MB at 128 px, 50 MB at 224 px
SHARDS_AT_ONCE = 4  # read side by side, so that a batch mixes shards

# For functions of a dataset: they use tf.cond themselves, and AutoGraph takes 1 to 2 s to convert them in each process
do_not_convert = tf.autograph.experimental.do_not_convert


class TrainSource(Protocol):
    """The training examples in a form that can be shuffled cheaply, in blocks of SHUFFLE_BLOCK."""

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Return all examples in the order of a seed, int64 [2], but for the order within a block."""

    def plan(self, block: Any, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> Any:
        """Return what a model sees of the wanted examples of a block, as a tuple of [k, ...] tensors.

        Args:
            block: of n examples.
            number: int64 [], the block's in its epoch.
            wanted: bool [n], k of which are true, by place in the shuffled block.
            seed: int64 [2], of the epoch.
        """

    def image(self, *view: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return image, uint8 [size, size, 3], and label, int32 [], of one example that was planned."""


def read_examples(paths: tf.Tensor) -> tf.data.Dataset:
    """Return the serialized examples, string [], of the shard files at `paths`, string [n], in a fixed order."""
    return _interleave(tf.data.Dataset.from_tensor_slices(paths), tf.data.TFRecordDataset)


def read_numbered(paths: tf.Tensor, starts: tf.Tensor) -> tf.data.Dataset:
    """Return the same, each after its number, int64 []; those of a file begin at its entry of `starts`, int64 [n]."""
    files = tf.data.Dataset.from_tensor_slices((paths, starts))
    return _interleave(files, lambda path, start: tf.data.TFRecordDataset(path).enumerate(start))


def _interleave(files: tf.data.Dataset, read: Callable[..., tf.data.Dataset]) -> tf.data.Dataset:
    return files.interleave(read, cycle_length=SHARDS_AT_ONCE)  # in parallel it costs half as much again


def shuffled(seed: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return int32 [k], where the wanted examples of a shuffled block are in it; see `TrainSource.plan`.

    Dataset.shuffle takes no seed that is a tensor, so blocks of examples are shuffled instead.
    """
    key = tf.stack([_fold_seed(seed), number])
    return tf.boolean_mask(tf.random.experimental.stateless_shuffle(tf.range(tf.size(wanted)), key), wanted)


def draw(seed: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, augment: Augment) -> Draws:
    """Return the draws of the k wanted examples of a block, see `TrainSource.plan`.

    They are functions of seed and place in the block alone, whatever is wanted beside.
    """
    key = tf.stack([_fold_seed(seed + 1), number])  # other numbers than those that shuffle
    draws = to_draws(tf.random.stateless_uniform([SHUFFLE_BLOCK, NUM_RANDOMS], key), augment)
    return Draws(*(tf.boolean_mask(field[: tf.size(wanted)], wanted) for field in draws))


class PixelDraws(NamedTuple):
    """What was drawn for the values of an image's pixels; of n images, each field is [n, ...]."""

    factors: tf.Tensor  # float32 [3], of brightness, contrast and saturation
    chosen: Chosen


def draw_pixels(seed: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, augment: Augment) -> PixelDraws:
    """Return what `draw` does not, in the same way; each is independent of whether the other is used."""
    key = tf.stack([_fold_seed(seed + 2), number])
    uniform = tf.random.stateless_uniform([SHUFFLE_BLOCK, 3 + NUM_CHOICES], key)
    uniform = tf.boolean_mask(uniform[: tf.size(wanted)], wanted)
    ranges = tf.constant([augment.brightness, augment.contrast, augment.saturation])
    return PixelDraws(1.0 + ranges * (2.0 * uniform[:, :3] - 1.0), choose_operations(uniform[:, 3:]))


def _fold_seed(seed: tf.Tensor) -> tf.Tensor:
    """Return int64 [], a seed made of two."""
    return tf.random.stateless_uniform([], seed, maxval=2**62, dtype=tf.int64)


class ShardSource:
    """Serialized examples, string [n], read from shard files in every epoch; see TrainSource."""

    def __init__(self, paths: Sequence[str], decoder: ExampleDecoder) -> None:
        self._paths = tf.constant(paths, tf.string)
        self._decoder = decoder
        self.image = decoder.image

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        return read_examples(tf.random.experimental.stateless_shuffle(self._paths, seed)).batch(SHUFFLE_BLOCK)

    def plan(self, block: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> tuple[View]:
        examples = tf.gather(block, shuffled(seed, number, wanted))
        return (self._decoder.plan(examples, draw(seed, number, wanted, self._decoder.augment)),)


class PixelSource:
    """The examples of another source, with colour jitter and then TrivialAugment after crop and flip."""

    def __init__(self, source: TrainSource, augment: Augment) -> None:
        self._source, self._augment = source, augment
        self.blocks = source.blocks

    def plan(self, block: Any, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> tuple[Any, PixelDraws]:
        return self._source.plan(block, number, wanted, seed), draw_pixels(seed, number, wanted, self._augment)

    def image(self, view: Any, draws: PixelDraws) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = self._source.image(*view)
        if self._augment.has_colour_jitter:
            image = adjust_colour(image, *tf.unstack(draws.factors))
        if self._augment.trivial_augment:
            image = trivial_augment(image, draws.chosen)
        return image, label
