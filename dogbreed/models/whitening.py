"""Patch whitening: a fixed first convolution whose outputs are uncorrelated over the patches of training images.

Its filters are the eigenvectors of the patches' covariance, each divided by the square root of its eigenvalue, and
their negatives (Page 2018, "How to train your ResNet"; Jordan 2024, arXiv:2404.00498, section 3.2).
"""

import keras
import numpy as np
from keras import layers

IMAGES = 1000  # from which the filters are computed: the first ones of the train split; arXiv:2404.00498 takes 5000
EPSILON = 1e-4  # added to eigenvalues, of pixels in -1 to 1; arXiv:2404.00498: 5e-4, of pixels with variance 1
LAYER = "whitening"


def whiten(images: keras.KerasTensor, side: int, stride: int) -> keras.KerasTensor:
    """Return [n, height, width, 6 * side^2], the responses to random filters until `fit_whitening` is called.

    images: float [n, height, width, 3], pixels in -1 to 1.
    """
    return layers.Conv2D(6 * side**2, side, strides=stride, trainable=False, name=LAYER)(images)


def has_whitening(model: keras.Model) -> bool:
    """Return whether the model's filters are to be computed from training images."""
    return any(layer.name == LAYER for layer in model.layers)


def fit_whitening(model: keras.Model, images: np.ndarray) -> None:
    """Set the filters and biases of a model's whitening layer.

    images: uint8 [n, height, width, 3].
    """
    layer = model.get_layer(LAYER)
    mean, covariance = patch_moments(images, layer.kernel.shape[0])
    filters, biases = whitening_filters(mean, covariance)
    layer.set_weights([filters.reshape(layer.kernel.shape), biases])


def patch_moments(images: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean [3 * side^2] and covariance [3 * side^2, 3 * side^2] of all patches, of pixels in -1 to 1, float64.

    Sums of products of bytes are whole numbers below 2^53: exact in any order, so equal on each machine.

    images: uint8 [n, height, width, 3].
    """
    height, width = images.shape[1] - side + 1, images.shape[2] - side + 1
    total, products = np.zeros(3 * side**2), np.zeros((3 * side**2, 3 * side**2))
    for image in images:  # one at a time: the patches take 8 side^2 times the memory of the bytes
        shifted = [image[row : row + height, column : column + width] for row in range(side) for column in range(side)]
        patches = np.concatenate(shifted, axis=-1).reshape(-1, 3 * side**2).astype(np.float64)
        total += patches.sum(axis=0)
        products += patches.T @ patches
    count = len(images) * height * width
    mean = total / count
    return mean / 127.5 - 1, (products / count - np.outer(mean, mean)) / 127.5**2


def whitening_filters(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return filters [m, 2m] and biases [2m] for patches of m numbers; float32, the largest eigenvalue first.

    Patches with this mean and covariance then give responses of mean 0 and variance 1, and their negatives.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    largest = np.abs(eigenvectors).argmax(axis=0)
    signs = np.sign(eigenvectors[largest, np.arange(len(mean))])  # LAPACK chooses any
    half = (eigenvectors * signs / np.sqrt(eigenvalues + EPSILON))[:, ::-1]
    filters = np.concatenate([half, -half], axis=1)
    return filters.astype(np.float32), (-mean @ filters).astype(np.float32)
