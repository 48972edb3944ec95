"""Counting: exact on a network small enough for paper and pencil, close to the papers on theirs."""

import keras
import pytest
from keras import layers

from dogbreed.models import registry, stats, stats_table


def test_each_output_position_takes_each_number_of_its_kernel_once() -> None:
    photo = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(photo)  # 4 x 4 positions x 3 x 3 x 3 x 4
    nested = keras.Sequential([keras.Input((4, 4, 4)), layers.DepthwiseConv2D(5, padding="same")])  # 4 x 4 x 5 x 5 x 4
    x = layers.Dense(6)(layers.BatchNormalization()(nested(x)))  # 4 x 4 x 4 x 6
    model = keras.Model(photo, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))  # 6 x 10
    assert stats.macs(model) == 1728 + 1600 + 384 + 60


@pytest.mark.parametrize(
    ("name", "millions", "tolerance"),
    [
        ("mobilenet", 569, 0.01),
        ("mobilenetv2", 300, 0.01),
        ("efficientnetb0", 390, 0.02),
        ("mixnet-l", 565, 0.02),
        ("mixnet-s", 256, 0.07),  # the blocks are those of the authors' code, whose count the paper does not explain
        ("mixnet-m", 360, 0.07),
    ],
)
def test_models_cost_what_their_papers_say(name: str, millions: float, tolerance: float) -> None:
    cost = stats.measure(registry.get(name), 1000)
    assert cost.multiply_adds / 1e6 == pytest.approx(millions, rel=tolerance)


QUICK = ("simple", "cifar-resnet", "airbench-64", "mobilenet-0.25")  # under a second each; all of them take minutes


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in registry.MODELS]
)
def test_models_cost_what_the_list_of_models_says(name: str) -> None:
    entry = registry.get(name)
    built = stats.measure(entry, 7)
    body = (built.parameters - 7 * (entry.width + 1), built.multiply_adds - 7 * entry.width)
    assert stats_table.get_stats(entry, 7) == built, f'the line is now "{name}": ({body[0]:_}, {body[1]:_}),'


def test_every_model_has_its_costs() -> None:
    assert list(stats_table.BACKBONES) == list(registry.MODELS)
