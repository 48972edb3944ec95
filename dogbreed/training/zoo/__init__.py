"""The registry of models: a line each. Keras is imported when a model is built, not with the registry."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from dogbreed.platform.errors import UnknownName

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Entry:
    """A model that recipes can name."""

    name: str
    builder: str  # module of this package : variant that its `build` takes
    size: int  # side of the photos that it was designed for, pixels; others work too
    width: int  # features before the last layer
    source: str
    imagenet: bool = False  # whether Keras publishes weights of the layers below the last
    smallest: int = 32  # side below which nothing is left to convolve, pixels

    @property
    def family(self) -> str:
        """Models of one family differ in depth, width and size only."""
        module, _, variant = self.builder.partition(":")
        family, dot, _ = variant.partition(".")
        return family if dot else module

    def build(self, size: int, classes: int, dropout: float) -> "keras.Model":
        """Return the untrained model; UnknownName when photos of `size` are too small for it."""
        if size < self.smallest:
            raise UnknownName(f"{self.name} takes photos of {self.smallest} px at least; --set size={self.smallest}")
        module, _, variant = self.builder.partition(":")
        builder = import_module(f"{__name__}.{module}").build
        return cast("keras.Model", builder(variant, size, classes, dropout))


SMALL, MIXNET = "this suite", "Tan & Le 2019, arXiv:1907.09595"
RESNET, RESNET_V2 = "He et al. 2015, arXiv:1512.03385", "He et al. 2016, arXiv:1603.05027"
INCEPTION, INCEPTION_RESNET = "Szegedy et al. 2015, arXiv:1512.00567", "Szegedy et al. 2016, arXiv:1602.07261"
MOBILE, MOBILE_V2 = "Howard et al. 2017, arXiv:1704.04861", "Sandler et al. 2018, arXiv:1801.04381"
MOBILE_V3, CONVNEXT = "Howard et al. 2019, arXiv:1905.02244", "Liu et al. 2022, arXiv:2201.03545"
EFFICIENT, EFFICIENT_V2 = "Tan & Le 2019, arXiv:1905.11946", "Tan & Le 2021, arXiv:2104.00298"

ENTRIES = (
    Entry("simple", "small:simple", 64, 384, SMALL, smallest=16),
    Entry("larger", "small:larger", 128, 448, SMALL),
    Entry("cifar-resnet", "small:cifar-resnet", 32, 64, RESNET, smallest=4),
    Entry("mixnet-s", "mixnet:s", 224, 1536, MIXNET),
    Entry("mixnet-m", "mixnet:m", 224, 1536, MIXNET),
    Entry("mixnet-l", "mixnet:l", 224, 1536, MIXNET),
    Entry("resnet50", "pretrained:resnet.ResNet50", 224, 2048, RESNET, True),
    Entry("resnet101", "pretrained:resnet.ResNet101", 224, 2048, RESNET, True),
    Entry("resnet152", "pretrained:resnet.ResNet152", 224, 2048, RESNET, True),
    Entry("resnet50v2", "pretrained:resnet_v2.ResNet50V2", 224, 2048, RESNET_V2, True),
    Entry("resnet101v2", "pretrained:resnet_v2.ResNet101V2", 224, 2048, RESNET_V2, True),
    Entry("resnet152v2", "pretrained:resnet_v2.ResNet152V2", 224, 2048, RESNET_V2, True),
    Entry("inceptionv3", "pretrained:inception_v3.InceptionV3", 299, 2048, INCEPTION, True, 75),
    Entry(
        "inceptionresnetv2", "pretrained:inception_resnet_v2.InceptionResNetV2", 299, 1536, INCEPTION_RESNET, True, 75
    ),
    Entry("mobilenet-0.25", "pretrained:mobilenet.MobileNet 0.25", 224, 256, MOBILE, True),
    Entry("mobilenet", "pretrained:mobilenet.MobileNet", 224, 1024, MOBILE, True),
    Entry("mobilenetv2", "pretrained:mobilenet_v2.MobileNetV2", 224, 1280, MOBILE_V2, True),
    Entry("mobilenetv3small", "pretrained:mobilenet_v3.MobileNetV3Small", 224, 576, MOBILE_V3, True),
    Entry("mobilenetv3large", "pretrained:mobilenet_v3.MobileNetV3Large", 224, 960, MOBILE_V3, True),
    Entry("efficientnetb0", "pretrained:efficientnet.EfficientNetB0", 224, 1280, EFFICIENT, True),
    Entry("efficientnetb1", "pretrained:efficientnet.EfficientNetB1", 240, 1280, EFFICIENT, True),
    Entry("efficientnetb2", "pretrained:efficientnet.EfficientNetB2", 260, 1408, EFFICIENT, True),
    Entry("efficientnetb3", "pretrained:efficientnet.EfficientNetB3", 300, 1536, EFFICIENT, True),
    Entry("efficientnetb4", "pretrained:efficientnet.EfficientNetB4", 380, 1792, EFFICIENT, True),
    Entry("efficientnetb5", "pretrained:efficientnet.EfficientNetB5", 456, 2048, EFFICIENT, True),
    Entry("efficientnetb6", "pretrained:efficientnet.EfficientNetB6", 528, 2304, EFFICIENT, True),
    Entry("efficientnetb7", "pretrained:efficientnet.EfficientNetB7", 600, 2560, EFFICIENT, True),
    Entry("efficientnetv2b0", "pretrained:efficientnet_v2.EfficientNetV2B0", 224, 1280, EFFICIENT_V2, True),
    Entry("efficientnetv2b1", "pretrained:efficientnet_v2.EfficientNetV2B1", 240, 1280, EFFICIENT_V2, True),
    Entry("efficientnetv2b2", "pretrained:efficientnet_v2.EfficientNetV2B2", 260, 1408, EFFICIENT_V2, True),
    Entry("efficientnetv2b3", "pretrained:efficientnet_v2.EfficientNetV2B3", 300, 1536, EFFICIENT_V2, True),
    Entry("efficientnetv2s", "pretrained:efficientnet_v2.EfficientNetV2S", 384, 1280, EFFICIENT_V2, True),
    Entry("efficientnetv2m", "pretrained:efficientnet_v2.EfficientNetV2M", 480, 1280, EFFICIENT_V2, True),
    Entry("convnexttiny", "pretrained:convnext.ConvNeXtTiny", 224, 768, CONVNEXT, True),
    Entry("convnextsmall", "pretrained:convnext.ConvNeXtSmall", 224, 768, CONVNEXT, True),
    Entry("convnextbase", "pretrained:convnext.ConvNeXtBase", 224, 1024, CONVNEXT, True),
)
MODELS = {entry.name: entry for entry in ENTRIES}


def named(name: str) -> Entry:
    """Return the entry of that name; UnknownName lists those that there are."""
    if name not in MODELS:
        raise UnknownName(f"unknown model {name!r}; known are {', '.join(MODELS)}")
    return MODELS[name]


def build(name: str, size: int, classes: int, dropout: float) -> "keras.Model":
    """Return an untrained model: uint8 [n, size, size, 3] in, float32 probabilities [n, classes] out."""
    return named(name).build(size, classes, dropout)
