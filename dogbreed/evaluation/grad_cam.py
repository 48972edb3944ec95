"""What in a photo speaks for a breed: Grad-CAM."""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dogbreed.evaluation.metrics import Labels

Images = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]


def grad_cam(model: keras.Model, photos: Images, labels: Labels) -> Maps:
    """Return where each photo holds evidence for its label: float32 [n, h, w] in 0-1, 1 at the strongest place.

    photos: uint8 [n, size, size, 3]; labels: int [n], the breed that is asked about. h and w are those of the last
    feature map, for example 5 x 5 at 160 px. A map is 0 where nothing speaks for the breed. Selvaraju et al. 2017,
    arXiv:1610.02391; in networks that end in a pooling and one dense layer it is the CAM of Zhou et al. 2016.
    """
    seeing, deciding = _split_at_pooling(model)
    maps = tf.constant(seeing.predict_on_batch(photos), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        evidence = tf.gather(deciding(maps), tf.constant(labels), batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(evidence, maps), axis=(1, 2), keepdims=True)
    found = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))
    strongest = tf.reduce_max(found, axis=(1, 2), keepdims=True)
    return np.asarray(tf.math.divide_no_nan(found, strongest))


def _split_at_pooling(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return a model of the zoo in two: photos to its last feature map [n, h, w, c], and that to logits."""
    nested = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    inner = nested or model
    pooled = [layer for layer in inner.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]
    seeing = keras.Model(inner.input, pooled.input)
    if nested:  # a body of Keras' own behind the layers that rescale for it
        before = model.operations[model.operations.index(nested) - 1].output
        seeing = keras.Model(model.input, seeing(before))
    features = nested.output if nested else model.get_layer("dropout").input
    rest = keras.Model(pooled.input, features)
    return seeing, keras.Sequential([rest, model.get_layer("logits")])
