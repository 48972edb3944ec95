"""Grad-CAM: the regions of an image that raise the score of a class."""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dogbreed.evaluation.metrics import Labels

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]


def grad_cam(model: keras.Model, images: Images, labels: Labels) -> Maps:
    """Return a heat map of each image: float32 [n, h, w] in 0-1, 1 at its maximum.

    h and w are those of the last feature map, for example 5 x 5 at 160 px. A map is 0 everywhere if no region raises
    the score. Selvaraju et al. 2017, arXiv:1610.02391; for networks that end in a pooling and one dense layer it
    equals the class activation map of Zhou et al. 2016.

    Args:
        images: uint8 [n, size, size, 3].
        labels: int [n], the class of each map.
    """
    features, classifier = _split_at_pooling(model)
    maps = tf.constant(features.predict_on_batch(images), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        scores = tf.gather(classifier(maps), tf.constant(labels), batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(scores, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))
    maximum = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
    return np.asarray(tf.math.divide_no_nan(heat, maximum))


def _split_at_pooling(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Split a model of the registry in two: images to the last feature map [n, h, w, c], and that to logits."""
    nested = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    inner = nested or model
    pooled = [layer for layer in inner.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]
    features = keras.Model(inner.input, pooled.input)
    if nested:  # a backbone of Keras behind its rescaling layers
        before = model.operations[model.operations.index(nested) - 1].output
        features = keras.Model(model.input, features(before))
    pooled_features = nested.output if nested else model.get_layer("dropout").input
    pooling = keras.Model(pooled.input, pooled_features)
    return features, keras.Sequential([pooling, model.get_layer("logits")])
