"""The zoom with which a trained model sees images, chosen on validation.

Random crops show a model larger objects than the whole images of an evaluation do; a central zoom makes up for that
(Touvron et al. 2019, "Fixing the train-test resolution discrepancy", arXiv:1906.06423).
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.splits import VALIDATION
from dogbreed.evaluation.predict import SplitPredictions, predict
from dogbreed.training.recipe import Recipe

ZOOMS = (1.0, 1.0625, 1.125, 1.1875, 1.25)  # whole pixels at 32, 64, 128, 160 and 224 px

Correct = npt.NDArray[np.bool_]  # [n], whether the prediction of each validation image is right

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ZoomChoice:
    """The chosen zoom, its top-1 on validation, and one row for each zoom that was tried.

    Columns of the table: zoom, outer_size (pixels), top1, and the numbers of images that are predicted correctly with
    this zoom only (gained), and only without one (lost).
    """

    zoom: float
    top1: float  # 0-1
    table: pd.DataFrame


def choose_zoom(
    recipe: Recipe, manifest: Manifest, model: keras.Model, pipeline: InputPipeline, unzoomed: SplitPredictions
) -> ZoomChoice:
    """Return the zoom of the recipe or, if that is auto, the best one on validation.

    Args:
        unzoomed: the model's predictions on validation without a zoom.
    """
    correct = {1.0: _correct(unzoomed)}
    for zoom in zooms_to_try(recipe, manifest):
        if zoom != 1:
            correct[zoom] = _correct(predict(model, pipeline.with_zoom(zoom), VALIDATION, num_images=1))
    chosen = best_zoom(correct) if recipe.fixed_zoom is None else recipe.fixed_zoom
    scores = ", ".join(f"{zoom}: {right.mean():.2%}" for zoom, right in correct.items())
    log.info("the model is evaluated and served with zoom %s; validation top-1 by zoom: %s", chosen, scores)
    return ZoomChoice(chosen, float(correct[chosen].mean()), _table(correct, recipe))


def zooms_to_try(recipe: Recipe, manifest: Manifest) -> tuple[float, ...]:
    """Return the zooms to evaluate: that of the recipe or, if it is auto, those of ZOOMS that can be of use.

    These are none but 1 after a training without random crops, which saw objects as large as an evaluation shows them,
    and none for which the stored images have too few pixels.
    """
    if recipe.fixed_zoom is not None:
        warn_if_too_small(ResizeSpec(recipe.size, recipe.resize_mode, recipe.fixed_zoom), manifest)
        return (recipe.fixed_zoom,)
    if not recipe.augment.has_random_crop:
        return (1.0,)
    stored = int(manifest.config["size"])
    fitting = tuple(zoom for zoom in ZOOMS if ResizeSpec(recipe.size, zoom=zoom).outer_size <= stored)
    if len(fitting) < len(ZOOMS):
        wanted = ResizeSpec(recipe.size, zoom=ZOOMS[-1]).outer_size
        log.info("zooms above %s are not tried: they need images of up to %d px, not %d", fitting[-1], wanted, stored)
    return fitting


def best_zoom(correct: Mapping[float, Correct]) -> float:
    """Return the zoom with the highest top-1, the smallest of equal ones, or 1 if its gain may be noise.

    A gain counts if it exceeds one standard error of the difference of two equally good zooms on the same n images:
    sqrt(gained + lost) images (McNemar 1947), where only those count that one of the two predicts correctly.

    Args:
        correct: of each zoom, 1 included.
    """
    best = max(correct, key=lambda zoom: (correct[zoom].mean(), -zoom))
    gained, lost = _compare(correct[best], correct[1.0])
    return best if gained - lost > math.sqrt(gained + lost) else 1.0


def warn_if_too_small(view: ResizeSpec, manifest: Manifest) -> None:
    """Log a warning if the images of a dataset have too few pixels for the zoom of a view, and are zoomed less."""
    stored = int(manifest.config["size"])
    if view.zoom > 1 and stored < view.outer_size:
        log.warning(
            "zoom %s of %d px needs images of %d px, the dataset has %d px: they are zoomed less, so that none is "
            "enlarged; run jobs.preprocess --size %d to another prefix",
            view.zoom, view.size, view.outer_size, stored, view.outer_size,
        )  # fmt: skip


def _correct(found: SplitPredictions) -> Correct:
    labels, probabilities, _ = found
    return np.asarray(probabilities.argmax(axis=1) == labels)


def _compare(zoomed: Correct, unzoomed: Correct) -> tuple[int, int]:
    """Return how many images only the first predicts correctly, and how many only the second."""
    return int((zoomed & ~unzoomed).sum()), int((unzoomed & ~zoomed).sum())


def _table(correct: Mapping[float, Correct], recipe: Recipe) -> pd.DataFrame:
    rows = [
        (zoom, ResizeSpec(recipe.size, zoom=zoom).outer_size, right.mean(), *_compare(right, correct[1.0]))
        for zoom, right in correct.items()
    ]
    return pd.DataFrame(rows, columns=["zoom", "outer_size", "top1", "gained", "lost"])
