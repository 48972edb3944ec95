"""A table of parameters and multiply-adds of the models in the registry, which `stats.measure` takes minutes to count.

tests/models/test_stats.py compares the table with real models and prints the line of a model that differs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dogbreed.models.registry import ModelSpec


@dataclass(frozen=True)
class ModelStats:
    """The size of a model, at the image size that it was designed for."""

    parameters: int  # with the statistics of BatchNorm
    multiply_adds: int  # of convolutions and dense layers


def get_stats(spec: ModelSpec, classes: int) -> ModelStats:
    """Return the parameters and multiply-adds of a model of the registry with so many classes."""
    parameters, multiply_adds = BACKBONES[spec.name]
    return ModelStats(parameters + (spec.width + 1) * classes, multiply_adds + spec.width * classes)


def table_lines(specs: Sequence[ModelSpec], classes: int) -> Iterator[str]:
    """Yield the lines of a table of models for a terminal."""
    form = "{:<18} {:>10}  {:>8}  {:>11}  {:>13}  {:<16}  {}"
    yield f"Models with {classes} classes"
    yield form.format("model", "image, px", "features", "parameters", "multiply-adds", "ImageNet weights", "source")
    for spec in specs:
        stats = get_stats(spec, classes)
        parameters, multiply_adds = f"{stats.parameters:,}", _millions(stats.multiply_adds)
        weights = "Keras" if spec.imagenet else "none"
        yield form.format(spec.name, spec.size, spec.width, parameters, multiply_adds, weights, spec.source)


def _millions(number: int) -> str:
    return f"{number / 1e6:,.0f} M" if number >= 1e7 else f"{number / 1e6:,.1f} M"


def summary(specs: Sequence[ModelSpec], classes: int) -> dict[str, dict[str, int]]:
    """Return size in pixels, features, parameters and multiply-adds by the model's name."""
    return {spec.name: {"size": spec.size, "features": spec.width, **vars(get_stats(spec, classes))} for spec in specs}


BACKBONES: dict[str, tuple[int, int]] = {  # parameters and multiply-adds of all layers but the last
    "simple": (1_276_128, 74_317_824),
    "larger": (2_056_272, 146_276_352),
    "cifar-resnet": (273_392, 40_812_544),
    "airbench": (1_971_384, 118_144_800),
    "airbench-64": (3_373_752, 99_975_168),
    "airbench-128": (3_394_680, 143_327_232),
    "mixnet-s": (2_629_798, 237_637_360),
    "mixnet-m": (3_519_094, 337_636_672),
    "mixnet-l": (5_846_524, 553_715_792),
    "resnet50": (23_587_712, 3_855_925_248),
    "resnet101": (42_658_176, 7_568_146_432),
    "resnet152": (58_370_944, 11_280_367_616),
    "resnet50v2": (23_564_800, 3_480_207_360),
    "resnet101v2": (42_626_560, 7_192_428_544),
    "resnet152v2": (58_331_648, 10_904_649_728),
    "inceptionv3": (21_802_784, 5_711_168_096),
    "inceptionresnetv2": (54_336_736, 13_154_258_016),
    "mobilenet-0.25": (218_544, 40_774_272),
    "mobilenet": (3_228_864, 567_716_352),
    "mobilenetv2": (2_257_984, 299_494_272),
    "mobilenetv3small": (939_120, 54_896_576),
    "mobilenetv3large": (2_996_352, 214_080_960),
    "efficientnetb0": (4_049_571, 384_534_752),
    "efficientnetb1": (6_575_239, 685_522_832),
    "efficientnetb2": (7_768_569, 992_153_872),
    "efficientnetb3": (10_783_535, 1_825_605_392),
    "efficientnetb4": (17_673_823, 4_391_979_024),
    "efficientnetb5": (28_513_527, 10_264_336_752),
    "efficientnetb6": (40_960_143, 19_065_289_536),
    "efficientnetb7": (64_097_687, 37_743_324_192),
    "efficientnetv2b0": (5_919_312, 716_806_176),
    "efficientnetv2b1": (6_931_124, 1_195_539_360),
    "efficientnetv2b2": (8_769_374, 1_696_134_832),
    "efficientnetv2b3": (12_930_622, 3_009_922_816),
    "efficientnetv2s": (20_331_360, 8_364_337_152),
    "efficientnetv2m": (53_150_388, 24_581_180_384),
    "convnexttiny": (27_820_128, 4_454_763_264),
    "convnextsmall": (49_454_688, 8_682_944_256),
    "convnextbase": (87_566_464, 15_353_705_472),
}
