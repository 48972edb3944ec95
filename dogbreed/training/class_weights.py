"""Class weights: a weight for each image, so that every class counts the same in the loss."""

import numpy as np
import tensorflow as tf

from dogbreed.data.train_source import do_not_convert


def add_class_weights(batches: tf.data.Dataset, counts: np.ndarray) -> tf.data.Dataset:
    """Add a weight to each image, so that every class counts the same; the mean weight of all images is 1.

    counts: int [classes], the images of each class.
    """
    weights = tf.constant(counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)), tf.float32)
    return batches.map(do_not_convert(lambda images, labels: (images, labels, tf.linalg.matvec(labels, weights))))
