"""The registry of models, one line each. Keras is imported when a model is built, not with the registry."""

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from dogbreed.core.errors import UsageError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ModelSpec:
    """A model that recipes can name."""

    name: str
    builder: str  # module of this package : variant that its `build` takes
    size: int  # image side that it was designed for, pixels; other sizes work too
    width: int  # features before the last layer
    source: str
    imagenet: bool = False  # whether Keras publishes weights of the layers below the last
    smallest: int = 32  # image side below which feature maps would be empty, pixels

    @property
    def family(self) -> str:
        """The architecture; models of one family differ in depth, width and size only."""
        module, _, variant = self.builder.partition(":")
        family, dot, _ = variant.partition(".")
        return family if dot else module

    def build(self, size: int, classes: int, dropout: float) -> "keras.Model":
        """Return the model with random weights; UsageError when images of `size` are too small for it."""
        if size < self.smallest:
            raise UsageError(f"{self.name} needs images of at least {self.smallest} px; --set size={self.smallest}")
        module, _, variant = self.builder.partition(":")
        builder = import_module(f"{__package__}.{module}").build
        return cast("keras.Model", builder(variant, size, classes, dropout))


SMALL, MIXNET = "this suite", "Tan & Le 2019, arXiv:1907.09595"
RESNET, RESNET_V2 = "He et al. 2015, arXiv:1512.03385", "He et al. 2016, arXiv:1603.05027"
INCEPTION, INCEPTION_RESNET = "Szegedy et al. 2015, arXiv:1512.00567", "Szegedy et al. 2016, arXiv:1602.07261"
MOBILE, MOBILE_V2 = "Howard et al. 2017, arXiv:1704.04861", "Sandler et al. 2018, arXiv:1801.04381"
MOBILE_V3, CONVNEXT = "Howard et al. 2019, arXiv:1905.02244", "Liu et al. 2022, arXiv:2201.03545"
AIRBENCH = "Jordan 2024, arXiv:2404.00498"
EFFICIENT, EFFICIENT_V2 = "Tan & Le 2019, arXiv:1905.11946", "Tan & Le 2021, arXiv:2104.00298"

_SPECS = (
    ModelSpec("simple", "small:simple", 64, 384, SMALL, smallest=16),
    ModelSpec("larger", "small:larger", 128, 448, SMALL),
    ModelSpec("cifar-resnet", "small:cifar-resnet", 32, 64, RESNET, smallest=4),
    ModelSpec("airbench", "airbench:airbench", 32, 512, AIRBENCH, smallest=16),
    ModelSpec("airbench-64", "airbench:airbench-64", 64, 768, AIRBENCH),
    ModelSpec("airbench-128", "airbench:airbench-128", 128, 768, AIRBENCH, smallest=64),
    ModelSpec("mixnet-s", "mixnet:s", 224, 1536, MIXNET),
    ModelSpec("mixnet-m", "mixnet:m", 224, 1536, MIXNET),
    ModelSpec("mixnet-l", "mixnet:l", 224, 1536, MIXNET),
    ModelSpec("resnet50", "keras_applications:resnet.ResNet50", 224, 2048, RESNET, True),
    ModelSpec("resnet101", "keras_applications:resnet.ResNet101", 224, 2048, RESNET, True),
    ModelSpec("resnet152", "keras_applications:resnet.ResNet152", 224, 2048, RESNET, True),
    ModelSpec("resnet50v2", "keras_applications:resnet_v2.ResNet50V2", 224, 2048, RESNET_V2, True),
    ModelSpec("resnet101v2", "keras_applications:resnet_v2.ResNet101V2", 224, 2048, RESNET_V2, True),
    ModelSpec("resnet152v2", "keras_applications:resnet_v2.ResNet152V2", 224, 2048, RESNET_V2, True),
    ModelSpec("inceptionv3", "keras_applications:inception_v3.InceptionV3", 299, 2048, INCEPTION, True, 75),
    ModelSpec(
        "inceptionresnetv2",
        "keras_applications:inception_resnet_v2.InceptionResNetV2",
        299,
        1536,
        INCEPTION_RESNET,
        True,
        75,
    ),
    ModelSpec("mobilenet-0.25", "keras_applications:mobilenet.MobileNet 0.25", 224, 256, MOBILE, True),
    ModelSpec("mobilenet", "keras_applications:mobilenet.MobileNet", 224, 1024, MOBILE, True),
    ModelSpec("mobilenetv2", "keras_applications:mobilenet_v2.MobileNetV2", 224, 1280, MOBILE_V2, True),
    ModelSpec("mobilenetv3small", "keras_applications:mobilenet_v3.MobileNetV3Small", 224, 576, MOBILE_V3, True),
    ModelSpec("mobilenetv3large", "keras_applications:mobilenet_v3.MobileNetV3Large", 224, 960, MOBILE_V3, True),
    ModelSpec("efficientnetb0", "keras_applications:efficientnet.EfficientNetB0", 224, 1280, EFFICIENT, True),
    ModelSpec("efficientnetb1", "keras_applications:efficientnet.EfficientNetB1", 240, 1280, EFFICIENT, True),
    ModelSpec("efficientnetb2", "keras_applications:efficientnet.EfficientNetB2", 260, 1408, EFFICIENT, True),
    ModelSpec("efficientnetb3", "keras_applications:efficientnet.EfficientNetB3", 300, 1536, EFFICIENT, True),
    ModelSpec("efficientnetb4", "keras_applications:efficientnet.EfficientNetB4", 380, 1792, EFFICIENT, True),
    ModelSpec("efficientnetb5", "keras_applications:efficientnet.EfficientNetB5", 456, 2048, EFFICIENT, True),
    ModelSpec("efficientnetb6", "keras_applications:efficientnet.EfficientNetB6", 528, 2304, EFFICIENT, True),
    ModelSpec("efficientnetb7", "keras_applications:efficientnet.EfficientNetB7", 600, 2560, EFFICIENT, True),
    ModelSpec("efficientnetv2b0", "keras_applications:efficientnet_v2.EfficientNetV2B0", 224, 1280, EFFICIENT_V2, True),
    ModelSpec("efficientnetv2b1", "keras_applications:efficientnet_v2.EfficientNetV2B1", 240, 1280, EFFICIENT_V2, True),
    ModelSpec("efficientnetv2b2", "keras_applications:efficientnet_v2.EfficientNetV2B2", 260, 1408, EFFICIENT_V2, True),
    ModelSpec("efficientnetv2b3", "keras_applications:efficientnet_v2.EfficientNetV2B3", 300, 1536, EFFICIENT_V2, True),
    ModelSpec("efficientnetv2s", "keras_applications:efficientnet_v2.EfficientNetV2S", 384, 1280, EFFICIENT_V2, True),
    ModelSpec("efficientnetv2m", "keras_applications:efficientnet_v2.EfficientNetV2M", 480, 1280, EFFICIENT_V2, True),
    ModelSpec("convnexttiny", "keras_applications:convnext.ConvNeXtTiny", 224, 768, CONVNEXT, True),
    ModelSpec("convnextsmall", "keras_applications:convnext.ConvNeXtSmall", 224, 768, CONVNEXT, True),
    ModelSpec("convnextbase", "keras_applications:convnext.ConvNeXtBase", 224, 1024, CONVNEXT, True),
)
MODELS = {spec.name: spec for spec in _SPECS}


def get(name: str) -> ModelSpec:
    """Return the model of that name; UsageError suggests similar names and lists the known ones."""
    if name not in MODELS:
        similar = difflib.get_close_matches(name, MODELS)
        suggestion = f"did you mean {' or '.join(similar)}? " if similar else ""
        raise UsageError(f"unknown model {name!r}; {suggestion}Known are {', '.join(MODELS)}")
    return MODELS[name]


def build(name: str, size: int, classes: int, dropout: float) -> "keras.Model":
    """Return a model with random weights: uint8 [n, size, size, 3] in, float32 probabilities [n, classes] out."""
    return get(name).build(size, classes, dropout)
