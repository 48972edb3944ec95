"""Helpers for the tests of figures."""

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dogbreed.evaluation.metrics import Labels, Probabilities


def drawn(figure: Figure) -> Figure:
    """Return the figure after saving it, without a warning (pytest's setting), as an image of its size."""
    figure.savefig(file := BytesIO(), dpi=20)
    width, height = figure.get_size_inches()
    assert Image.open(file).size == (int(width * 20), int(height * 20))
    return figure


def certain(predicted: list[int], classes: int) -> Probabilities:
    probabilities: Probabilities = np.eye(classes, dtype=np.float32)[np.array(predicted, dtype=int)]
    return probabilities


def guesses(count: int, classes: int) -> tuple[Labels, Probabilities]:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(classes), count).astype(np.float32)
    return random.integers(0, classes, count), probabilities


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def labels_of(ticks: Any) -> list[str]:
    return [tick.get_text() for tick in ticks]


def images(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
