"""Every view of the input pipeline against the same computed image by image, step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.data.augment import Augment
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.resize import ResizeSpec
from tests.support.reference_views import views

Preprocess = Callable[..., Manifest | None]
Array = np.ndarray[Any, np.dtype[Any]]
CROPS = Augment(min_area=0.3, max_aspect=1.4, hflip=True, margin_jitter=0.1)
DATASETS: dict[str, dict[str, str]] = {
    "box": {},
    "deferred": {"crop": "defer"},
    "squares": {"resize_mode": "squash"},
}
ZOOMED = [ResizeSpec(10, "squash", 1.25), ResizeSpec(24, "pad", 1.25), ResizeSpec(30, "crop", 1.25)]  # 30: zoomed less
VIEWS = [ResizeSpec(size, mode) for size in (10, 32) for mode in ("squash", "pad", "crop")]  # 10: decoded at half


@pytest.mark.parametrize("dataset", DATASETS)
def test_views_are_those_of_images_that_are_computed_one_by_one(
    source: StanfordDogs, preprocess: Preprocess, tmp_path: Path, dataset: str
) -> None:
    store = LocalStore(tmp_path / "data")
    manifest = preprocess(source, store, **DATASETS[dataset])
    assert manifest is not None
    for view in VIEWS if dataset != "squares" else VIEWS[::3]:
        flow = InputPipeline(manifest, store, view, 28, tmp_path)
        still = np.concatenate([images.numpy() for images, _ in flow.eval_batches("train")])
        assert np.array_equal(still, list(views(manifest, store, "train", view)))
        for augment in (Augment(), Augment(hflip=True)):
            assert np.array_equal(first_epoch(flow, augment), list(views(manifest, store, "train", view, augment, 7)))
        shown, wanted = first_epoch(flow, CROPS), np.array(list(views(manifest, store, "train", view, CROPS, 7)))
        different = shown != wanted  # the last digits of a crop's place, computed for many images at once, may differ
        assert np.abs(shown.astype(int) - wanted).max() <= 1
        assert different.mean() < 1e-3


@pytest.mark.parametrize("dataset", DATASETS)
def test_only_evaluation_is_zoomed(source: StanfordDogs, preprocess: Preprocess, tmp_path: Path, dataset: str) -> None:
    store = LocalStore(tmp_path / "data")
    manifest = preprocess(source, store, **DATASETS[dataset])
    assert manifest is not None
    for view in ZOOMED if dataset != "squares" else ZOOMED[:1]:
        flow = InputPipeline(manifest, store, ResizeSpec(view.size, view.mode), 28, tmp_path).with_zoom(view.zoom)
        still = np.concatenate([images.numpy() for images, _ in flow.eval_batches("train")])
        assert np.array_equal(still, list(views(manifest, store, "train", view)))
        unzoomed = np.concatenate([images.numpy() for images, _ in flow.with_zoom(1.0).eval_batches("train")])
        assert not np.array_equal(still, unzoomed)
        assert np.array_equal(first_epoch(flow, Augment()), list(views(manifest, store, "train", view, Augment(), 7)))


def first_epoch(flow: InputPipeline, augment: Augment) -> Array:
    ((images, _),) = flow.train_batches(augment, seed=7, epochs=1)
    return np.asarray(images)
