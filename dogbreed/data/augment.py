"""Random views of a photo for training: every one a function of its seed alone."""

from dataclasses import dataclass

import tensorflow as tf

from dogbreed.platform.errors import UnknownName


@dataclass(frozen=True)
class Augment:
    """Ranges of the random view; the defaults change nothing."""

    min_area: float = 1.0  # smallest share of the photo's area that a view shows
    max_aspect: float = 1.0  # a view's width is stretched by up to this factor, or its height
    flip: bool = False  # mirror every other view
    margin_jitter: float = 0.0  # a deferred crop's margin moves by up to so many box sides
    cutmix: float = 0.0  # share of the batches whose photos get a rectangle of another photo

    @property
    def moves(self) -> bool:
        """Whether views differ in what part of a photo they show."""
        return self.min_area < 1 or self.max_aspect > 1

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1:
            raise UnknownName(f"min_area {self.min_area} is outside 0 to 1")
        if self.max_aspect < 1 or not 0 <= self.margin_jitter < 0.5:  # beyond, a box could vanish
            raise UnknownName("max_aspect is at least 1; margin_jitter at least 0 and below 0.5")
        if not 0 <= self.cutmix <= 1:
            raise UnknownName(f"cutmix {self.cutmix} is outside 0 to 1")


def jitter_margin(margin: float, augment: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Return float32 [], the margin of one deferred crop in box sides, uniform around `margin`."""
    amount = augment.margin_jitter
    return margin + tf.random.stateless_uniform([], seed + 1, -amount, amount)


def random_region(region: tf.Tensor, augment: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Return a random part of `region`, both float32 [top, left, height, width] in pixels.

    Area and aspect as in the random resized crop of Szegedy et al. 2015 (arXiv:1409.4842).
    """
    draw = tf.random.stateless_uniform([4], seed)
    area = augment.min_area + (1.0 - augment.min_area) * draw[0]
    aspect = augment.max_aspect ** (2.0 * draw[1] - 1.0)
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    top, left = draw[2] * (1.0 - height), draw[3] * (1.0 - width)
    y, x, h, w = tf.unstack(region)
    return tf.stack([y + top * h, x + left * w, height * h, width * w])


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return uint8 [height, width, 3], mirrored left to right for half of the seeds."""
    mirrored = tf.random.stateless_uniform([], seed + 2) < 0.5
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)  # a slice [::-1] takes ten times as long


def cutmix(photos: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return uint8 [n, size, size, 3] with a rectangle of each photo's partner, and targets mixed by area.

    targets: float32 [n, classes]. Photo i has partner n - 1 - i; the rectangle's area is uniform in 0 to 1,
    less what lies beyond the edge (Yun et al. 2019, arXiv:1905.04899, with alpha 1, a rectangle a batch).
    """
    draw = tf.random.stateless_uniform([3], seed)
    size = tf.cast(tf.shape(photos)[1], tf.float32)
    place, half = tf.range(size), tf.sqrt(draw[0]) * size / 2
    rows = tf.abs(place - draw[1] * size) < half
    columns = tf.abs(place - draw[2] * size) < half
    mask = rows[:, tf.newaxis] & columns[tf.newaxis]
    share = tf.reduce_mean(tf.cast(mask, tf.float32))
    mixed = tf.where(mask[tf.newaxis, :, :, tf.newaxis], photos[::-1], photos)
    return mixed, (1 - share) * targets + share * targets[::-1]
