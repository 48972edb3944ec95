"""Which pixels a zoomed view shows."""

import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import UsageError
from dogbreed.data.resize import ResizeSpec, crop_and_resize, fit_region

WIDE = [0.0, 0.0, 100.0, 150.0]


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("squash", [10, 15, 80, 120]), ("pad", [-10, 15, 120, 120]), ("crop", [10, 35, 80, 80])],
)
def test_a_zoom_shows_the_centre_of_what_is_shown_without_one(mode: str, shown: list[float]) -> None:
    found = fit_region(tf.constant([WIDE]), ResizeSpec(64, mode, 1.25))
    assert found.numpy()[0].tolist() == pytest.approx(shown)


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [(72, 90, [4, 5, 64, 80]), (64, 90, [0, 0, 64, 90]), (40, 90, [0, 0, 40, 90]), (80, 80, [8, 8, 64, 64])],
)
def test_a_zoom_enlarges_nothing(height: float, width: float, shown: list[float]) -> None:
    found = fit_region(tf.constant([0.0, 0.0, height, width]), ResizeSpec(64, zoom=1.25))
    assert found.numpy().tolist() == pytest.approx(shown)


@pytest.mark.parametrize("mode", ["squash", "pad", "crop"])
def test_a_zoom_of_1_is_none(mode: str) -> None:
    region = tf.constant(WIDE)
    assert np.array_equal(fit_region(region, ResizeSpec(64, mode, 1.0)), fit_region(region, ResizeSpec(64, mode)))
    assert ResizeSpec(64, mode, 1.0).to_dict() == {"size": 64, "mode": mode}


def test_a_square_of_the_outer_size_is_not_resized() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (72, 72, 3), np.uint8)
    view = ResizeSpec(64, zoom=1.125)
    shown = crop_and_resize(tf.constant(pixels), fit_region(tf.constant([0.0, 0.0, 72.0, 72.0]), view), 64)
    assert view.outer_size == 72
    assert np.array_equal(shown, pixels[4:68, 4:68])


@pytest.mark.parametrize("zoom", [0.99, 2.01, float("nan")])
def test_a_zoom_is_from_1_to_2(zoom: float) -> None:
    with pytest.raises(UsageError, match="outside 1 to 2"):
        ResizeSpec(64, zoom=zoom)
