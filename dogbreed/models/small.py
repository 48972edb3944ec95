"""Small convolutional networks that train from scratch in minutes on two CPU cores."""

from collections.abc import Callable

import keras
from keras import layers

from dogbreed.models import common


def build(variant: str, size: int, classes: int, dropout: float) -> keras.Model:
    """Return the network `variant`: uint8 [n, size, size, 3] in, probabilities [n, classes] out."""
    return NETWORKS[variant](size, classes, dropout)


def simple(size: int, classes: int, dropout: float) -> keras.Model:
    """Return the network of `simple-64`."""
    return _network("simple", size, classes, dropout, widths=(32, 64, 128, 256, 384), stride=1)


def larger(size: int, classes: int, dropout: float) -> keras.Model:
    """Return the network of `larger-128`: its first convolution strides over the costly full resolution."""
    return _network("larger", size, classes, dropout, widths=(48, 96, 192, 320, 448), stride=2)


def _network(name: str, size: int, classes: int, dropout: float, widths: tuple[int, ...], stride: int) -> keras.Model:
    image = common.image_input(size)
    x = common.rescale_to_unit_range(image)
    for stage, width in enumerate(widths):
        x = layers.Conv2D(width, 3, strides=stride if stage == 0 else 1, padding="same", use_bias=False)(x)
        if stage < len(widths) - 1:
            x = layers.MaxPooling2D()(x)  # before BatchNorm, which then sees a quarter: 1.4x the images/s
        x = layers.BatchNormalization(momentum=0.9)(x)  # 0.99 lags behind at 165 steps an epoch
        x = layers.Activation("relu")(x)
    return common.classification_head(image, layers.GlobalAveragePooling2D()(x), classes, dropout, name)


def cifar_resnet(size: int, classes: int, dropout: float) -> keras.Model:
    """Return ResNet-20 for 32 px (He et al., arXiv:1512.03385, section 4.2), with projection shortcuts."""
    image = common.image_input(size)
    x = _convolve(common.rescale_to_unit_range(image), 16, stride=1)
    for width in (16, 32, 64):
        for block in range(3):
            x = _residual(x, width, stride=2 if width > 16 and block == 0 else 1)
    return common.classification_head(image, layers.GlobalAveragePooling2D()(x), classes, dropout, "cifar-resnet")


def _residual(x: keras.KerasTensor, width: int, stride: int) -> keras.KerasTensor:
    shortcut = x if stride == 1 else _batch_norm(layers.Conv2D(width, 1, strides=stride, use_bias=False)(x))
    x = _convolve(x, width, stride)
    x = _batch_norm(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
    return layers.Activation("relu")(layers.Add()([x, shortcut]))


def _convolve(x: keras.KerasTensor, width: int, stride: int) -> keras.KerasTensor:
    x = _batch_norm(layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x))
    return layers.Activation("relu")(x)


def _batch_norm(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=0.9)(x)


NETWORKS: dict[str, Callable[[int, int, float], keras.Model]] = {
    "simple": simple,
    "larger": larger,
    "cifar-resnet": cifar_resnet,
}
