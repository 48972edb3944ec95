"""What all models share: the uint8 input, pixel scaling, the classification head, and access to backbone and head."""

from collections.abc import Iterator

import keras
from keras import layers

from dogbreed.core.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of pixels in 0 to 1, red, green, blue
IMAGENET_STD = (0.229, 0.224, 0.225)


def image_input(size: int) -> keras.KerasTensor:
    """Return the input of a model: uint8 [n, size, size, 3]."""
    return keras.Input((size, size, 3), dtype="uint8", name="image")


def rescale_to_unit_range(images: keras.KerasTensor) -> keras.KerasTensor:
    """Return the images with pixels in -1 to 1."""
    return layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(images)


def normalize_imagenet(images: keras.KerasTensor) -> keras.KerasTensor:
    """Return the images with ImageNet's mean 0 and standard deviation 1 in each channel: about -2.1 to 2.6."""
    scale = [1 / (255 * std) for std in IMAGENET_STD]
    offset = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    return layers.Rescaling(scale, offset=offset, name="rescale")(images)


def classification_head(
    images: keras.KerasTensor, features: keras.KerasTensor, classes: int, dropout: float, name: str
) -> keras.Model:
    """Return the model from `images` over features [n, width] and logits to float32 probabilities [n, classes]."""
    x = layers.Dropout(dropout, name="dropout")(features)
    x = layers.Dense(classes, name="logits")(x)
    # float32: 16 bits would round probabilities, and with them the loss
    return keras.Model(images, layers.Softmax(name="probabilities", dtype="float32")(x), name=name)


def disable_xla(model: keras.Model) -> keras.Model:
    """Let a model that is not compiled predict without XLA, and return it.

    On a machine with a GPU, Keras would choose XLA and compile for each new size of a batch, for up to a minute.
    """
    model.jit_compile = False
    return model


def backbone(model: keras.Model) -> keras.Model:
    """Return the model without its head, sharing layers: uint8 [n, size, size, 3] in, features [n, width] out."""
    return disable_xla(keras.Model(model.input, model.get_layer("dropout").input))


def head(model: keras.Model) -> keras.Model:
    """Return the head alone, sharing layers: features [n, width] in, float32 probabilities [n, classes] out."""
    features = keras.Input(model.get_layer("dropout").input.shape[1:])
    x = model.get_layer("logits")(model.get_layer("dropout")(features))
    return keras.Model(features, model.get_layer("probabilities")(x))


def reduce_images(model: keras.Model, size: int) -> keras.Model:
    """Return the model, sharing layers, for the same images: its first layer sees them reduced to `size` pixels.

    They are interpolated without antialiasing and rounded. Models that contain others have a fixed size: UsageError.
    """
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        raise UsageError(f"{model.name} has one image size only; use start_size=0, or another model")
    graph = keras.Model(model.input, model.output)  # without an optimizer, which a clone would copy
    inner = keras.models.clone_model(
        graph, keras.Input((size, size, 3), dtype="uint8"), clone_function=lambda same: same
    )
    images = keras.Input(model.input_shape[1:], dtype="uint8")
    return keras.Model(images, inner(keras.ops.image.resize(images, (size, size))))


def leaf_layers(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield the layers that contain no others, also those of nested models, in the order of the graph."""
    for inner in getattr(layer, "layers", ()):
        yield from leaf_layers(inner)
    if not hasattr(layer, "layers"):
        yield layer
