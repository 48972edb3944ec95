"""MixNet: the numbers of the paper, timm's logits, and what its grouped convolutions compute."""

import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dogbreed.models import mixnet, registry

GOLDEN = Path(__file__).resolve().parents[3] / "shared/reference/mixnet_m_golden.json"
STATISTICS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@pytest.fixture
def float64() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("variant", "classes", "trainable", "total"),
    [
        ("s", 1000, 4_134_606, 4_166_798),
        ("m", 1000, 5_014_382, 5_056_094),
        ("l", 1000, 7_329_252, 7_383_524),
        ("s", 120, 2_782_046, 2_814_238),
        ("m", 120, 3_661_822, 3_703_534),
        ("l", 120, 5_976_692, 6_030_964),
    ],
)
def test_the_parameters_are_those_of_timm(variant: str, classes: int, trainable: int, total: int) -> None:
    model = registry.build(f"mixnet-{variant}", 64, classes, 0.2)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == trainable
    assert model.count_params() == total


def drawn(name: str, shape: list[int]) -> np.ndarray:
    """Return the tensor that the reference was computed with: a function of its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if name.endswith("running_mean") or (len(shape) == 1 and name.endswith("bias")):
        return rng.normal(0, 0.1, shape)
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape)
    return rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)


def assign(model: keras.Model, name: str, values: np.ndarray) -> None:
    """Give a layer one of timm's tensors, whose axes are [out, in, height, width]."""
    path, _, kind = name.rpartition(".")
    layer = model.get_layer("logits" if path == "classifier" else path.replace(".", "_"))
    if isinstance(layer, keras.layers.BatchNormalization):
        getattr(layer, STATISTICS[kind]).assign(values)
    elif kind == "bias":
        layer.bias.assign(values)
    else:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        axes = (1, 0) if values.ndim == 2 else (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        layer.kernel.assign(values.transpose(axes))


@pytest.mark.skipif(not GOLDEN.exists(), reason="timm's logits are not at ../shared/reference")
def test_mixnet_m_gives_the_logits_of_timm(float64: None) -> None:
    reference: dict[str, Any] = json.loads(GOLDEN.read_text())["tf_mixnet_m"]
    model = registry.build("mixnet-m", 224, 1000, 0.25)
    for name, shape in reference["tensors"]:
        assign(model, name, drawn(name, shape))
    assert len(model.weights) == len(reference["tensors"])
    network = keras.Model(model.get_layer("rescale").output, model.get_layer("logits").output)
    x = np.random.default_rng(7).normal(0, 1, (2, 224, 224, 3)).astype("float32")
    expected = np.array(reference["logits"])
    error = np.abs(network(x, training=False).numpy() - expected).max() / np.abs(expected).max()
    assert error < 1e-4  # 4.0e-5: the rounding of the reference, which is float32; in float32 both add up to 8.3e-5


def test_the_widths_of_mixnet_l_are_rounded_to_eight() -> None:
    large = mixnet.ARCHITECTURES["l"]
    assert (large.stem, *(blocks[0].channels for blocks in large.stages)) == (32, 32, 40, 56, 104, 160, 264)
    assert [mixnet.round_channels(channels) for channels in (3, 11, 12, 19, 20)] == [
        8,
        16,
        16,
        24,
        24,
    ]  # 90 % of 11 is 9.9


def test_groups_share_the_channels_and_the_first_takes_the_rest() -> None:
    assert mixnet.split_channels(40, 1) == [40]
    assert mixnet.split_channels(120, 4) == [30, 30, 30, 30]
    assert mixnet.split_channels(62, 4) == [17, 15, 15, 15]


def layers_named(x: keras.KerasTensor, y: keras.KerasTensor, *names: str) -> tuple[keras.Model, list[np.ndarray]]:
    model = keras.Model(x, y)
    return model, [model.get_layer(name).kernel.numpy() for name in names]


def test_a_grouped_1x1_convolution_is_one_with_a_block_diagonal_kernel() -> None:
    x = keras.Input((4, 4, 7))
    model, (first, second) = layers_named(x, mixnet._pointwise(x, 5, 2, "pw"), "pw_0", "pw_1")
    assert (first.shape, second.shape) == ((1, 1, 4, 3), (1, 1, 3, 2))
    whole = np.zeros((7, 5), "float32")
    whole[:4, :3], whole[4:, 3:] = first, second
    photos = np.random.default_rng(0).normal(size=(2, 4, 4, 7)).astype("float32")
    assert model(photos).numpy() == pytest.approx(photos @ whole, abs=1e-5)


def test_each_share_of_the_channels_has_a_depthwise_kernel_of_its_own_size() -> None:
    x = keras.Input((6, 6, 5))
    block = mixnet.Block(5, (3, 5), stride=2)
    model, kernels = layers_named(x, mixnet._depthwise(x, block, "dw"), "dw_0", "dw_1")
    assert [kernel.shape for kernel in kernels] == [(3, 3, 3, 1), (5, 5, 2, 1)]
    photos = np.random.default_rng(0).normal(size=(1, 6, 6, 5)).astype("float32")
    answer = model(photos).numpy()
    assert answer.shape == (1, 3, 3, 5)
    # TensorFlow's padding at an even size: nothing before and one after for 3, one before and two after for 5
    assert answer[0, 0, 0, 1] == pytest.approx((photos[0, :3, :3, 1] * kernels[0][:, :, 1, 0]).sum(), abs=1e-5)
    padded = np.pad(photos[0, :, :, 4], ((1, 2), (1, 2)))
    assert answer[0, 2, 1, 4] == pytest.approx((padded[4:9, 2:7] * kernels[1][:, :, 1, 0]).sum(), abs=1e-5)


def test_kernels_of_one_shape_begin_with_values_of_their_own() -> None:
    model = registry.build("mixnet-s", 32, 10, 0.2)
    first, second = (model.get_layer(f"blocks_2_{number}_conv_pw_0").kernel.numpy() for number in (1, 2))
    assert first.shape == second.shape
    assert np.abs(first - second).mean() > first.std() / 2


def test_any_size_runs() -> None:
    model = registry.build("mixnet-s", 65, 10, 0.2)
    photos = np.random.default_rng(0).integers(0, 256, (2, 65, 65, 3), np.uint8)
    answer = model(photos).numpy()
    assert answer.shape == (2, 10)
    assert answer.sum(1) == pytest.approx(1)
