"""The models of keras.applications without their last layer, each with the pixel scaling that its weights expect.

That scaling is the one of the family's `preprocess_input`, or part of its graph.
"""

from collections.abc import Callable

import keras
from keras import layers

from dogbreed.models import common

CAFFE_MEAN = (123.68, 116.779, 103.939)  # of ImageNet's pixels in 0 to 255, red, green, blue


def build(variant: str, size: int, classes: int, dropout: float) -> keras.Model:
    """Return `family.Class`, or `family.Class alpha`: uint8 [n, size, size, 3] in, probabilities [n, classes] out."""
    family, _, name = variant.partition(".")
    image = common.image_input(size)
    body = application(name, size)
    fill_normalization(body)
    return common.classification_head(
        image, body(RESCALED[family](image)), classes, dropout, name.lower().replace(" ", "-")
    )


def application(name: str, size: int, weights: str | None = None, top: bool = False) -> keras.Model:
    """Return `Class`, or `Class alpha`, of Keras: what `RESCALED` gives [n, size, size, 3] in, features [n, width] out.

    weights: "imagenet" downloads them. top: ImageNet's classes are put on, probabilities [n, 1000] come out.
    """
    name, _, alpha = name.partition(" ")
    model: keras.Model = getattr(keras.applications, name)(
        include_top=top,
        weights=weights,
        pooling="avg",
        input_shape=(size, size, 3),
        **({"alpha": float(alpha)} if alpha else {}),
    )
    return model


def fill_normalization(model: keras.Model) -> None:
    """Give EfficientNet's normalization ImageNet's mean and variance; other models stay as they are.

    Keras leaves that layer at 0 and 1 when it downloads no weights. Its weight files hold the deviation in place of
    the variance, and the layer that makes up for it comes with weights="imagenet" only (tensorflow#49930): call this
    after loading a file, too.
    """
    for layer in model.layers:
        if isinstance(layer, layers.Normalization) and layer.input_mean is None:
            layer.adapt_mean.assign(common.IMAGENET_MEAN)
            layer.adapt_variance.assign([std**2 for std in common.IMAGENET_STD])
            layer.finalize_state()


def _caffe(image: keras.KerasTensor) -> keras.KerasTensor:
    """Return blue, green, red less their means, in about -124 to 152."""
    x = layers.Rescaling(1.0, offset=[-mean for mean in CAFFE_MEAN], name="rescale")(image)
    return keras.ops.flip(x, axis=-1)


def _identity(image: keras.KerasTensor) -> keras.KerasTensor:
    """Return the images as they are, 0 to 255, for a graph that rescales."""
    return layers.Rescaling(1.0, name="rescale")(image)


RESCALED: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "resnet": _caffe,
    "resnet_v2": common.rescale_to_unit_range,
    "inception_v3": common.rescale_to_unit_range,
    "inception_resnet_v2": common.rescale_to_unit_range,
    "mobilenet": common.rescale_to_unit_range,
    "mobilenet_v2": common.rescale_to_unit_range,
    "mobilenet_v3": _identity,
    "efficientnet": _identity,
    "efficientnet_v2": _identity,
    "convnext": _identity,
}
