"""Whitening filters: uncorrelated responses of variance 1, the same from the same images."""

import numpy as np
import pytest

from dogbreed.models import registry, whitening
from dogbreed.models.whitening import patch_moments, whitening_filters


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth noise, whose neighbouring pixels are alike."""
    noise = np.random.default_rng(0).normal(size=(20, 32, 32, 3)).cumsum(axis=1).cumsum(axis=2)
    scaled = 128 + 40 * noise / noise.std()
    clipped: np.ndarray = scaled.clip(0, 255).astype(np.uint8)
    return clipped


def test_moments_are_those_of_all_patches(images: np.ndarray) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(images / 127.5 - 1, (2, 2), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    mean, covariance = patch_moments(images, 2)
    assert mean == pytest.approx(patches.mean(axis=0))
    assert covariance == pytest.approx(np.cov(patches.T, bias=True))


def test_responses_are_uncorrelated_and_their_negatives_follow(images: np.ndarray) -> None:
    mean, covariance = patch_moments(images, 2)
    filters, biases = whitening_filters(mean, covariance)
    half = filters[:, :12].astype(float)
    found = half.T @ covariance @ half
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1]
    assert found == pytest.approx(np.diag(eigenvalues / (eigenvalues + whitening.EPSILON)), abs=1e-4)
    assert np.array_equal(filters[:, 12:], -filters[:, :12])
    assert mean @ filters + biases == pytest.approx(np.zeros(24), abs=1e-5)


def test_order_of_images_changes_no_bit(images: np.ndarray) -> None:
    for one, other in zip(patch_moments(images, 2), patch_moments(images[::-1], 2), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(("name", "size"), [("airbench", 32), ("airbench-64", 32), ("airbench-128", 64)])
def test_a_network_whitens_at_other_sizes_too(name: str, size: int, images: np.ndarray) -> None:
    model = registry.build(name, size, 4, 0.2)
    whitening.fit_whitening(model, images)
    layer = model.get_layer(whitening.LAYER)
    assert layer.trainable_weights == []
    responses = layer(images / np.float32(127.5) - 1).numpy()
    assert responses.mean(axis=(0, 1, 2)) == pytest.approx(np.zeros(24), abs=0.1)
    assert responses[..., :3].std(axis=(0, 1, 2)) == pytest.approx(np.ones(3), abs=0.1)
    assert model(np.zeros((1, size, size, 3), np.uint8)).numpy().sum() == pytest.approx(1, abs=1e-5)


def test_convolutions_begin_as_the_identity() -> None:
    model = registry.build("airbench-64", 32, 4, 0.2)
    kernels = [layer.kernel.numpy() for layer in model.layers if "conv" in layer.name]
    for kernel in kernels:
        channels = kernel.shape[2]
        assert np.array_equal(kernel[1, 1, :, :channels], np.eye(channels))
        assert kernel.sum(axis=(0, 1, 2))[:channels] == pytest.approx(1)
    assert len(kernels) == 8
