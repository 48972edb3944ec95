"""Grad-CAM: equal to the formula if there is one, and possible for every kind of model in the registry."""

import keras
import numpy as np
import pytest

from dogbreed.evaluation.grad_cam import grad_cam
from dogbreed.models import common, registry


def random_images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_behind_a_pooling_and_one_layer_it_is_the_class_activation_map() -> None:
    keras.utils.set_random_seed(1)
    model, shown, labels = registry.build("simple", 64, 5, 0.0), random_images(3, 64), np.array([0, 3, 4])
    pooled = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    maps = keras.Model(model.input, pooled.input).predict_on_batch(shown)
    kernel = model.get_layer("logits").kernel.numpy()[:, labels]  # Zhou et al. 2016: features times their weights
    expected = np.maximum(np.einsum("nhwc,cn->nhw", maps, kernel), 0)
    assert grad_cam(model, shown, labels) == pytest.approx(
        expected / expected.max(axis=(1, 2), keepdims=True), abs=1e-4
    )


def test_the_map_is_high_where_the_image_raises_the_score() -> None:
    image = common.image_input(32)
    bright = keras.layers.Conv2D(1, 8, strides=8, use_bias=False, kernel_initializer="ones")(
        common.rescale_to_unit_range(image)
    )
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(bright))
    model = common.classification_head(image, pooled, 2, 0.0, "bright")
    model.get_layer("logits").set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    shown = np.zeros((2, 32, 32, 3), np.uint8)
    shown[0, 8:16, 24:32] = shown[1, 24:32, 0:8] = 255
    found = grad_cam(model, shown, np.array([0, 0]))
    assert np.argwhere(found == 1).tolist() == [[0, 1, 3], [1, 3, 0]]
    assert found.sum() == 2
    assert grad_cam(model, shown, np.array([1, 1])).sum() == 0  # nothing raises the score of the other class


@pytest.mark.parametrize("name", ["cifar-resnet", "mixnet-s", "mobilenet-0.25", "efficientnetb0", "convnexttiny"])
def test_every_kind_of_model_has_heat_maps(name: str) -> None:
    keras.utils.set_random_seed(1)
    found = grad_cam(registry.build(name, 64, 4, 0.0), random_images(4, 64), np.arange(4))
    assert found.ndim == 3
    assert found.dtype == np.float32
    assert found.min() == 0
    assert 1 in found.max(axis=(1, 2))
    assert set(found.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
