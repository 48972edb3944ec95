"""Which zooms are tried, and which one is chosen."""

from dataclasses import replace

import numpy as np
import pytest

from dogbreed.data.manifest import Manifest
from dogbreed.evaluation.zoom import ZOOMS, best_zoom, zooms_to_try
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe
from tests.support.golden.literals import read_literal


def stored_at(size: int) -> Manifest:
    manifest = Manifest.from_json(read_literal("manifest.json"))
    return replace(manifest, config={**manifest.config, "size": size})


def right(*images: int) -> np.ndarray:
    """Return which of ten images are predicted correctly."""
    return np.isin(np.arange(10), images)


@pytest.mark.parametrize(
    ("settings", "stored", "tried"),
    [
        ([], 128, ZOOMS),
        ([], 72, (1.0, 1.0625, 1.125)),
        ([], 64, (1.0,)),
        (["augment.min_area=1", "augment.max_aspect=1"], 128, (1.0,)),
        (["test_zoom=1"], 128, (1.0,)),
        (["test_zoom=1.5"], 128, (1.5,)),
    ],
)
def test_zooms_are_tried_after_random_crops_and_up_to_the_stored_size(
    settings: list[str], stored: int, tried: tuple[float, ...]
) -> None:
    assert zooms_to_try(apply_overrides(get_recipe("simple-64"), settings), stored_at(stored)) == tried


def test_a_zoom_of_the_recipe_that_the_dataset_is_too_small_for_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    zooms_to_try(apply_overrides(get_recipe("simple-64"), ["test_zoom=1.5"]), stored_at(72))
    assert "needs images of 96 px, the dataset has 72 px" in caplog.text


@pytest.mark.parametrize(
    ("zoomed", "chosen"),
    [
        ({}, 1.0),
        ({1.1: right(0, 1, 2), 1.2: right(0, 1, 2)}, 1.1),  # the smallest of equal ones
        ({1.1: right(0, 1, 2), 1.2: right(0, 1, 2, 3)}, 1.2),
        ({1.1: right(0, 1)}, 1.0),  # one image more is no more than a standard error of one image
        ({1.1: right(1, 2, 3)}, 1.0),  # three gained, one lost: two more, a standard error of two
        ({1.1: right(1, 2, 3, 4)}, 1.1),  # four gained, one lost: three more, a standard error of 2.2
        ({1.1: right()}, 1.0),
    ],
)
def test_the_best_zoom_is_chosen_if_its_gain_exceeds_a_standard_error(
    zoomed: dict[float, np.ndarray], chosen: float
) -> None:
    assert best_zoom({1.0: right(0), **zoomed}) == chosen
