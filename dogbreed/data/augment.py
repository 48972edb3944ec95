"""Random augmentations, each a function of a seed: crop and flip of an image; CutMix, MixUp, erasing of a batch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from dogbreed.core.errors import UsageError

NUM_RANDOMS = 6  # random numbers of an image: four for its crop, one for its flip, one for its margin


@dataclass(frozen=True)
class Augment:
    """Ranges of the random augmentations; the defaults change nothing.

    Keras' own layers (RandomCrop, CutMix, MixUp, RandomErasing) are not used: they draw from a generator with a state,
    while these are functions of (seed, index), so that a resumed training sees the same images.
    """

    min_area: float = 1.0  # smallest fraction of the image's area that a random crop shows
    max_aspect: float = 1.0  # a crop's width is stretched by up to this factor, or its height
    hflip: bool = False  # mirror every other image
    margin_jitter: float = 0.0  # a deferred crop's margin moves by up to so many box sides
    cutmix_prob: float = 0.0  # fraction of the batches whose images get a rectangle of another image
    mixup_prob: float = 0.0  # fraction of the batches, others than these, whose images are blended with another image
    erase_prob: float = 0.0  # fraction of the images that lose a rectangle to noise
    brightness: float = 0.0  # multiplied by a factor uniform in 1 - this to 1 + this, as torchvision's ColorJitter does
    contrast: float = 0.0  # likewise
    saturation: float = 0.0  # likewise
    trivial_augment: bool = False  # one operation of TrivialAugment Wide on each image

    @property
    def has_random_crop(self) -> bool:
        """Whether random crops are taken."""
        return self.min_area < 1 or self.max_aspect > 1

    @property
    def has_colour_jitter(self) -> bool:
        """Whether brightness, contrast or saturation change."""
        return max(self.brightness, self.contrast, self.saturation) > 0

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1:
            raise UsageError(f"min_area {self.min_area} is outside 0 to 1")
        if self.max_aspect < 1 or not 0 <= self.margin_jitter < 0.5:  # beyond, a box could vanish
            raise UsageError("max_aspect must be at least 1; margin_jitter at least 0 and below 0.5")
        mixed = self.cutmix_prob + self.mixup_prob
        if min(self.cutmix_prob, self.mixup_prob) < 0 or mixed > 1 or not 0 <= self.erase_prob <= 1:
            raise UsageError("cutmix_prob and mixup_prob are at least 0, together at most 1; erase_prob is in 0 to 1")
        if not all(0 <= jitter <= 1 for jitter in (self.brightness, self.contrast, self.saturation)):
            raise UsageError("brightness, contrast and saturation are in 0 to 1")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name; one that is added later is left out while it has its default."""
        fields = {
            "min_area": self.min_area,
            "max_aspect": self.max_aspect,
            "hflip": self.hflip,
            "margin_jitter": self.margin_jitter,
            "cutmix_prob": self.cutmix_prob,
            "mixup_prob": self.mixup_prob,
            "erase_prob": self.erase_prob,
        }
        later = {
            "brightness": (self.brightness, 0.0),
            "contrast": (self.contrast, 0.0),
            "saturation": (self.saturation, 0.0),
            "trivial_augment": (self.trivial_augment, False),
        }
        return fields | {name: value for name, (value, default) in later.items() if value != default}


class Draws(NamedTuple):
    """What was drawn for an image, float32; of n images, each field is [n, ...]."""

    crop: tf.Tensor  # [4]: top, left, height and width of a random crop, as fractions of the region
    flip: tf.Tensor  # [] in 0 to 1
    margin: tf.Tensor  # [] in 0 to 1


def to_draws(uniform: tf.Tensor, augment: Augment) -> Draws:
    """Return the draws that follow from uniform random numbers, float32 [..., NUM_RANDOMS] in 0 to 1.

    Compute them for the same number of images always: the last digits of a power depend on it, because a processor's
    vector instructions round otherwise than those for the rest.

    Area and aspect of the crop as in the random resized crop of Szegedy et al. 2015 (arXiv:1409.4842).
    """
    area = augment.min_area + (1.0 - augment.min_area) * uniform[..., 0]
    aspect = augment.max_aspect ** (2.0 * uniform[..., 1] - 1.0)
    sides = tf.minimum(tf.sqrt(area[..., tf.newaxis] * tf.stack([1.0 / aspect, aspect], axis=-1)), 1.0)
    crop = tf.concat([uniform[..., 2:4] * (1.0 - sides), sides], -1)
    return Draws(crop, uniform[..., 4], uniform[..., 5])


def jitter_margin(margin: float, augment: Augment, draws: Draws) -> tf.Tensor:
    """Return float32 [...], the margin of a deferred crop in box sides, uniform around `margin`."""
    return margin + augment.margin_jitter * (2.0 * draws.margin - 1.0)


def crop_region(region: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Return a random part of `region`, both float32 [..., 4] (top, left, height, width) in pixels."""
    start, sides = draws.crop[..., :2], draws.crop[..., 2:]
    return tf.concat([region[..., :2] + start * region[..., 2:], sides * region[..., 2:]], -1)


def is_mirrored(draws: Draws) -> tf.Tensor:
    """Return bool [...], true for half of the draws."""
    return draws.flip < 0.5


def mirror(image: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Return uint8 [height, width, 3], mirrored left to right where `mirrored`, bool [], is true."""
    # a slice [::-1] takes ten times as long
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def cutmix(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return uint8 [n, size, size, 3] with a rectangle of each image's partner, and targets mixed by area.

    targets: float32 [n, classes]. Image i has partner n - 1 - i; the rectangle's area is uniform in 0 to 1,
    less what is beyond the edge (Yun et al. 2019, arXiv:1905.04899, with alpha 1, a rectangle a batch).
    """
    draw = tf.random.stateless_uniform([3], seed)
    size = tf.cast(tf.shape(images)[1], tf.float32)
    place, half = tf.range(size), tf.sqrt(draw[0]) * size / 2
    rows = tf.abs(place - draw[1] * size) < half
    columns = tf.abs(place - draw[2] * size) < half
    mask = tf.reshape(rows[:, tf.newaxis] & columns[tf.newaxis], [1, -1])
    share = tf.reduce_mean(tf.cast(mask, tf.float32))
    flat = tf.reshape(images, [tf.shape(images)[0], -1])  # in four dimensions it takes five times as long
    mixed = tf.where(tf.repeat(mask, 3, axis=1), _reversed_batch(flat), flat)
    return tf.reshape(mixed, tf.shape(images)), (1 - share) * targets + share * _reversed_batch(targets)


def mixup(images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return uint8 [n, size, size, 3] and targets, each blended with those of its partner n - 1 - i.

    targets: float32 [n, classes]. The weight of the partner is uniform in 0 to 1, one a batch (Zhang et al. 2018,
    arXiv:1710.09412, with alpha 1).
    """
    share = tf.random.stateless_uniform([], seed)
    pixels = tf.cast(images, tf.float32)
    blended = tf.round((1 - share) * pixels + share * _reversed_batch(pixels))
    return tf.cast(blended, tf.uint8), (1 - share) * targets + share * _reversed_batch(targets)


def _reversed_batch(batch: tf.Tensor) -> tf.Tensor:
    """Return the batch in reversed order: image i becomes image n - 1 - i."""
    return tf.gather(batch, tf.range(tf.shape(batch)[0] - 1, -1, -1))  # a slice [::-1] takes forty times as long


def erase(images: tf.Tensor, prob: float, seed: tf.Tensor, own: tf.Tensor | None = None) -> tf.Tensor:
    """Return uint8 [n, size, size, 3], a fraction `prob` of them with a rectangle of noise on 2 to 33 % of the area.

    The rectangles show parts of one square of noise a batch: noise for each image takes ten times as long.
    own: bool [m], which images of a batch of m these n are; None if they are the whole batch.
    Zhong et al. 2017, arXiv:1708.04896, with sides of 0.3 to 3.3 to one another.
    """
    draws = tf.random.stateless_uniform([5, tf.shape(images if own is None else own)[0]], seed)
    if own is not None:
        draws = tf.boolean_mask(draws, own, axis=1)
    chosen, area, aspect, top, left = tf.unstack(draws)
    size = int(images.shape[1])
    sides = tf.sqrt(0.02 + 0.31 * area) * size
    stretch = tf.sqrt(0.3 * tf.pow(3.3 / 0.3, aspect))
    rows = tf.where(_covered(top, tf.where(chosen < prob, sides * stretch, 0.0), size))  # int64 [k, 2]: image, row
    columns = tf.repeat(_covered(left, sides / stretch, size), 3, axis=1)
    lines = tf.reshape(images, [-1, size, size * 3])  # only those lines are read that change
    changed = tf.where(
        tf.gather(columns, rows[:, 0]), tf.gather(_noise(size, seed + 1), rows[:, 1]), tf.gather_nd(lines, rows)
    )
    return tf.reshape(tf.tensor_scatter_nd_update(lines, rows, changed), tf.shape(images))


def _covered(start: tf.Tensor, length: tf.Tensor, size: int) -> tf.Tensor:
    """Return bool [n, size], true for the pixels of each interval.

    Args:
        start: float32 [n], the interval's offset as a fraction, 0 to 1, of the largest possible offset.
        length: float32 [n], pixels, at most `size` of which count.
    """
    length = tf.minimum(length, size)
    begin = (start * (size - length))[:, tf.newaxis]
    place = tf.range(float(size))[tf.newaxis]
    return (place >= begin) & (place < begin + length[:, tf.newaxis])


def _noise(size: int, seed: tf.Tensor) -> tf.Tensor:
    """Return uniform noise, uint8 [size, size * 3]."""
    count = size * size * 3
    words = tf.random.stateless_uniform([-(-count // 4)], seed, None, None, tf.uint32)
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], [size, size * 3])
