"""Training examples whose images were decoded before, in memory or in a file, and how one is augmented."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from dogbreed.data.augment import Augment, Draws, crop_region, is_mirrored, mirror
from dogbreed.data.decoded_images import DecodedFile
from dogbreed.data.example_decoder import ExampleDecoder, View
from dogbreed.data.resize import cut_square, plan_squares
from dogbreed.data.train_source import SHUFFLE_BLOCK, draw, read_numbered, shuffled


class DecodedView(NamedTuple):
    """What a model sees of a decoded image; of n images, each field is [n, ...], or () without that augmentation."""

    place: tf.Tensor  # int64 [], of the image among the decoded ones
    square: Any  # Square, with random crops
    mirrored: Any  # bool [], with flips


class DecodedViews:
    """Plans and cuts random views of decoded images, which are squares of `size` pixels already."""

    def __init__(self, size: int, augment: Augment) -> None:
        self._size, self.augment = size, augment

    def plan(self, places: tf.Tensor, draws: Draws) -> DecodedView:
        """Return what a model sees of the images at these places, int64 [n]."""
        whole = tf.tile([[0.0, 0.0, self._size, self._size]], [tf.size(places), 1])
        region = crop_region(whole, draws)
        square = plan_squares(whole, region, self._size, True) if self.augment.has_random_crop else ()
        return DecodedView(places, square, is_mirrored(draws) if self.augment.hflip else ())

    def cut(self, image: tf.Tensor, view: DecodedView) -> tf.Tensor:
        """Return the view, uint8 [size, size, 3], of its image, uint8 [size, size, 3]."""
        if self.augment.has_random_crop:
            image = cut_square(image, view.square, self._size, may_reduce=False)
        return mirror(image, view.mirrored) if self.augment.hflip else image


class MemorySource:
    """Places, int64 [n], of decoded images in memory, as the model sees them; see TrainSource.

    images: uint8 [n, size, size, 3]; labels: int32 [n].
    """

    def __init__(self, images: tf.Tensor, labels: tf.Tensor, views: DecodedViews) -> None:
        self._images, self._labels, self._views = images, labels, views

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        places = tf.random.experimental.stateless_shuffle(tf.range(len(self._labels), dtype=tf.int64), seed)
        return tf.data.Dataset.from_tensor_slices(places).batch(SHUFFLE_BLOCK)

    def plan(self, block: tf.Tensor, number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor) -> Any:
        places = tf.boolean_mask(block, wanted)
        return self._views.plan(places, draw(seed, number, wanted, self._views.augment)), tf.gather(
            self._labels, places
        )

    def image(self, view: DecodedView, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._views.cut(self._images[view.place], view), label


class DiskSource:
    """Places, int64 [n], and serialized examples, string [n], of images in a file; see TrainSource.

    An image is decoded when it is first needed. All examples are read in each epoch, because that takes a tenth
    of the time of decoding them and makes the order independent of what the file holds.
    """

    def __init__(
        self,
        paths: Sequence[str],
        lengths: Sequence[int],
        still: ExampleDecoder,
        file: DecodedFile,
        views: DecodedViews,
    ) -> None:
        """
        Args:
            lengths: numbers of examples in the shard files at `paths`.
            still: without augmentation.
        """
        self._paths = tf.constant(paths, tf.string)
        self._starts = tf.cumsum(tf.constant(lengths, tf.int64), exclusive=True)
        self._still, self._file, self._views = still, file, views

    def blocks(self, seed: tf.Tensor) -> tf.data.Dataset:
        paths, starts = (tf.random.experimental.stateless_shuffle(part, seed) for part in (self._paths, self._starts))
        return read_numbered(paths, starts).batch(SHUFFLE_BLOCK)

    def plan(
        self, block: tuple[tf.Tensor, tf.Tensor], number: tf.Tensor, wanted: tf.Tensor, seed: tf.Tensor
    ) -> tuple[View, DecodedView]:
        order = shuffled(seed, number, wanted)
        places, examples = (tf.gather(part, order) for part in block)
        draws = draw(seed, number, wanted, self._views.augment)
        return self._still.plan(examples), self._views.plan(places, draws)

    def image(self, still: View, view: DecodedView) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.cond(
            self._file.has(view.place),
            lambda: self._file.images[view.place],
            lambda: self._file.store(view.place, self._still.image(still)[0]),
        )
        return self._views.cut(image, view), still.label
