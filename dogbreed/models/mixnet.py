"""MixNet (Tan & Le 2019, arXiv:1907.09595): depthwise convolutions of several kernel sizes side by side.

Blocks, names and numbers are those of timm's tf_mixnet_* (a layer's name is timm's with _ for the dots), whose
weights stem from TensorFlow: asymmetric `same` padding, BatchNorm epsilon 1e-3, ImageNet's mean and deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
from keras import layers

from dogbreed.models import common

HEAD = 1536  # channels of the last convolution, never scaled


@dataclass(frozen=True)
class Block:
    """One inverted residual, or without expansion one depthwise-separable convolution."""

    channels: int  # out
    kernels: tuple[int, ...] = (3,)  # of the depthwise convolutions, each on its share of the channels
    stride: int = 1
    expand: int = 6
    groups: tuple[int, int] = (1, 1)  # of the 1x1 convolutions that expand and project
    squeeze: float = 0.0  # channels of squeeze and excitation, as a share of those that enter the block
    activation: str = "silu"


@dataclass(frozen=True)
class Architecture:
    """Channels of the first convolution, and the blocks stage by stage."""

    stem: int
    stages: tuple[tuple[Block, ...], ...]

    def scaled(self, width: float) -> "Architecture":
        """Return the architecture with `width` times the channels, the head excepted."""
        stages = tuple(
            tuple(replace(block, channels=round_channels(block.channels * width)) for block in blocks)
            for blocks in self.stages
        )
        return Architecture(round_channels(self.stem * width), stages)


def round_channels(channels: float) -> int:
    """Return the multiple of 8 nearest to `channels`, or the next one where that is below 90 % of it."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


BOTH, PROJECT = (2, 2), (1, 2)
SMALL = Architecture(
    16,
    (
        (Block(16, expand=1, activation="relu"),),
        (Block(24, (3,), 2, 6, BOTH, 0, "relu"), Block(24, (3,), 1, 3, BOTH, 0, "relu")),
        (Block(40, (3, 5, 7), 2, squeeze=0.5), *3 * [Block(40, (3, 5), 1, 6, BOTH, 0.5)]),
        (Block(80, (3, 5, 7), 2, 6, PROJECT, 0.25), *2 * [Block(80, (3, 5), 1, 6, PROJECT, 0.25)]),
        (Block(120, (3, 5, 7), 1, 6, BOTH, 0.5), *2 * [Block(120, (3, 5, 7, 9), 1, 3, BOTH, 0.5)]),
        (Block(200, (3, 5, 7, 9, 11), 2, squeeze=0.5), *2 * [Block(200, (3, 5, 7, 9), 1, 6, PROJECT, 0.5)]),
    ),
)
MEDIUM = Architecture(
    24,
    (
        (Block(24, expand=1, activation="relu"),),
        (Block(32, (3, 5, 7), 2, 6, BOTH, 0, "relu"), Block(32, (3,), 1, 3, BOTH, 0, "relu")),
        (Block(40, (3, 5, 7, 9), 2, squeeze=0.5), *3 * [Block(40, (3, 5), 1, 6, BOTH, 0.5)]),
        (Block(80, (3, 5, 7), 2, squeeze=0.25), *3 * [Block(80, (3, 5, 7, 9), 1, 6, BOTH, 0.25)]),
        (Block(120, (3,), 1, squeeze=0.5), *3 * [Block(120, (3, 5, 7, 9), 1, 3, BOTH, 0.5)]),
        (Block(200, (3, 5, 7, 9), 2, squeeze=0.5), *3 * [Block(200, (3, 5, 7, 9), 1, 6, PROJECT, 0.5)]),
    ),
)
ARCHITECTURES = {"s": SMALL, "m": MEDIUM, "l": MEDIUM.scaled(1.3)}


def build(variant: str, size: int, classes: int, dropout: float) -> keras.Model:
    """Return MixNet-S, M or L (`s`, `m`, `l`): uint8 [n, size, size, 3] in, probabilities [n, classes] out.

    The paper's dropout is 0.2 for S and 0.25 for M and L.
    """
    image = common.image_input(size)
    x = features(common.normalize_imagenet(image), ARCHITECTURES[variant])
    return common.classification_head(image, x, classes, dropout, f"mixnet-{variant}")


def features(x: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Return float [n, 1536] of rescaled images [n, size, size, 3]."""
    x = layers.Conv2D(
        architecture.stem, 3, strides=2, padding="same", use_bias=False, kernel_initializer=_fan_out(), name="conv_stem"
    )(x)
    x = _batch_norm(x, "bn1", "relu")
    for stage, blocks in enumerate(architecture.stages):
        for number, block in enumerate(blocks):
            x = _block(x, block, f"blocks_{stage}_{number}")
    x = _batch_norm(_pointwise(x, HEAD, 1, "conv_head"), "bn2", "relu")
    return layers.GlobalAveragePooling2D()(x)


def _block(entered: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    channels, x, norm = entered.shape[-1], entered, 1
    if block.expand > 1:
        x = _pointwise(x, channels * block.expand, block.groups[0], f"{name}_conv_pw")
        x, norm = _batch_norm(x, f"{name}_bn1", block.activation), 2
    x = _depthwise(x, block, f"{name}_conv_dw")
    x = _batch_norm(x, f"{name}_bn{norm}", block.activation)
    if block.squeeze:
        x = _squeeze_excite(x, int(channels * block.squeeze), block.activation, f"{name}_se")
    last = "conv_pwl" if block.expand > 1 else "conv_pw"
    x = _batch_norm(_pointwise(x, block.channels, block.groups[1], f"{name}_{last}"), f"{name}_bn{norm + 1}")
    return layers.Add()([x, entered]) if block.stride == 1 and channels == block.channels else x


def _fan_out() -> keras.initializers.Initializer:
    """Return a new initializer: one that is shared gives all kernels of a shape the same values."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def split_channels(channels: int, groups: int) -> list[int]:
    """Return the channels of each group: equal, the first with the remainder."""
    return [channels - channels // groups * (groups - 1), *(groups - 1) * [channels // groups]]


def _grouped(
    x: keras.KerasTensor, groups: int, name: str, layer: Callable[[int, str], keras.Layer]
) -> keras.KerasTensor:
    """Return `layer(number, its name)` of each group of channels side by side.

    A convolution with groups does not run on a CPU (tensorflow#53631).
    """
    if groups == 1:
        return layer(0, name)(x)
    ends_at = [sum(split_channels(x.shape[-1], groups)[: number + 1]) for number in range(groups - 1)]
    parts = keras.ops.split(x, ends_at, axis=-1)
    return layers.Concatenate()([layer(number, f"{name}_{number}")(part) for number, part in enumerate(parts)])


def _pointwise(x: keras.KerasTensor, channels: int, groups: int, name: str) -> keras.KerasTensor:
    widths = split_channels(channels, groups)

    def convolution(number: int, name: str) -> keras.Layer:
        return layers.Conv2D(widths[number], 1, use_bias=False, kernel_initializer=_fan_out(), name=name)

    return _grouped(x, groups, name, convolution)


def _depthwise(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    def convolution(number: int, name: str) -> keras.Layer:
        return layers.DepthwiseConv2D(
            block.kernels[number],
            strides=block.stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=_fan_out(),
            name=name,
        )

    return _grouped(x, len(block.kernels), name, convolution)


def _batch_norm(x: keras.KerasTensor, name: str, activation: str = "linear") -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)  # 0.99 lags behind at 165 steps an epoch
    return x if activation == "linear" else layers.Activation(activation)(x)


def _squeeze_excite(x: keras.KerasTensor, squeezed: int, activation: str, name: str) -> keras.KerasTensor:
    """Return the channels of x, each times a gate in 0 to 1 (Hu et al. 2018, arXiv:1709.01507)."""
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(squeezed, 1, activation=activation, kernel_initializer=_fan_out(), name=f"{name}_conv_reduce")(
        gate
    )
    gate = layers.Conv2D(
        x.shape[-1], 1, activation="sigmoid", kernel_initializer=_fan_out(), name=f"{name}_conv_expand"
    )(gate)
    return layers.Multiply()([x, gate])
