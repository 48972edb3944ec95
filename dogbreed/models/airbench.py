"""The network of the CIFAR-10 speed records (Jordan 2024, arXiv:2404.00498, section 3), also for larger images.

Whitened patches go through groups of two convolutions, the first of which is pooled to half the side. Learned biases
are those of BatchNormalization only, which has no learned scale; each convolution begins as the identity.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from dogbreed.models import common
from dogbreed.models.whitening import whiten

PATCH = 2  # side of the whitened patches, pixels
# Of the paper. Features are scaled, which scales the logits; unscaled, val_loss was 5.2 after two epochs, not 4.3
# (airbench-64 at 32 px, AdamW)
LOGIT_SCALE = 1 / 9


@dataclass(frozen=True)
class Network:
    """The shape of one network."""

    widths: tuple[int, ...]  # channels of each group
    stride: int  # of the whitening: 1 patches overlap, 2 they do not and the side is halved


NETWORKS = {
    "airbench": Network((64, 256, 256), stride=1),  # airbench94 of the paper
    "airbench-64": Network((64, 128, 256, 384), stride=2),
    "airbench-128": Network((32, 64, 128, 256, 384), stride=2),
}


def build(variant: str, size: int, classes: int, dropout: float) -> keras.Model:
    """Return the network `variant`: uint8 [n, size, size, 3] in, probabilities [n, classes] out.

    Unlike in the paper, the whitening's bias is fixed, the features are means and maxima of channels, not maxima, and
    units are SiLU, not GELU, with which a step takes 1.06 times the processor time (in bfloat16 1.16 times).
    """
    network, image = NETWORKS[variant], common.image_input(size)
    x = _activate(whiten(common.rescale_to_unit_range(image), PATCH, network.stride))
    for width in network.widths:
        x = _convolve(x, width, pool=True)
        x = _convolve(x, width, pool=False)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Rescaling(LOGIT_SCALE, name="logit_scale")(x)
    return common.classification_head(image, x, classes, dropout, variant)


def _convolve(x: keras.KerasTensor, width: int, pool: bool) -> keras.KerasTensor:
    convolution = layers.Conv2D(width, 3, padding="same", use_bias=False)
    x = convolution(x)
    _begin_as_identity(convolution)
    if pool:
        x = layers.MaxPooling2D()(x)
    return _activate(layers.BatchNormalization(momentum=0.9, scale=False)(x))


def _begin_as_identity(convolution: layers.Conv2D) -> None:
    """Let the first output channels be the input channels; the others stay random (torch.nn.init.dirac_)."""
    kernel = np.array(convolution.kernel)
    channels = np.arange(min(kernel.shape[2:]))
    kernel[..., channels] = 0
    kernel[1, 1, channels, channels] = 1
    convolution.set_weights([kernel])


def _activate(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Activation("silu")(x)
