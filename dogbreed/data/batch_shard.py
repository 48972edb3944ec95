"""The part of each training batch that one of several workers processes."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class BatchShard:
    """The part of each training batch that one of several workers processes.

    Image i of a batch of n may be mixed with image n - 1 - i (augment.cutmix_prob), so both belong to the same worker.
    """

    index: int = 0
    workers: int = 1

    def contains(self, place: tf.Tensor, batch: int) -> tf.Tensor:
        """Return, as bool [...], which places of a batch of `batch` images (a multiple of 2 * workers) are in it."""
        if self.workers == 1:
            return place >= 0
        outer = tf.minimum(place, batch - 1 - place)  # the place nearer to an end of the batch
        return outer // (batch // 2 // self.workers) == self.index
