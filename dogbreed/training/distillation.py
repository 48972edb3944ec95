"""Distillation: the probabilities of a teacher for the views of the images that its student sees, computed once.

Teacher and student see the same crop, each at its own size: crops are functions of (seed, view, place in the view's
order) in any size (Beyer et al., arXiv:2106.05237: a good teacher is patient and consistent).
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core import canonical_json, scratch
from dogbreed.core.errors import UsageError
from dogbreed.data.input_pipeline import PIXELS, InputPipeline
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.splits import TRAIN
from dogbreed.data.train_source import do_not_convert
from dogbreed.models import common
from dogbreed.training.feature_cache import Features, load_or_extract
from dogbreed.training.finetune import extract_features
from dogbreed.training.losses import soften
from dogbreed.training.recipe import Recipe

FLOAT_BYTES = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teacher:
    """A trained model with the student's classes."""

    path: Path  # model.keras
    sha256: str  # of the model and its metadata
    view: ResizeSpec  # how it sees an image; in training batches without its zoom

    def check(self, recipe: Recipe) -> None:
        """Raise UsageError where teacher and student would see different views."""
        if recipe.augment.trivial_augment and self.view.size != recipe.size:
            raise UsageError(
                f"TrivialAugment moves images by pixels, so a teacher at {self.view.size} px and a student at "
                f"{recipe.size} px would see different views; use --set augment.trivial_augment=false"
            )


def compute_targets(teacher: Teacher, recipe: Recipe, pipeline: InputPipeline, seed: int) -> Features:
    """Return the teacher's probabilities for each view, in the order of `pipeline.train_batches`, and the labels.

    Values are float32 [views * steps * images, classes]. Each view is kept in the scratch folder: a process that
    was killed loses one at most, and other trainings with the same views share them.

    Raises:
        EnvironmentUnsupported, RetryableError: the scratch folder has no room for them.
    """
    own = pipeline.with_view(teacher.view)
    load = functools.cache(lambda: common.disable_xla(keras.models.load_model(teacher.path, compile=False)))
    views = min(recipe.distillation.views, recipe.epochs)  # one an epoch in turn
    found = []
    for view in range(views):
        extract = functools.partial(_compute_view, load, recipe, own, seed, view, views)
        found.append(load_or_extract(_view_name(teacher, recipe, pipeline.dataset_digest, seed, view), extract))
    log.info("the student learns from the teacher's probabilities for %d views of each image", views)
    if recipe.augment.cutmix_prob or recipe.augment.mixup_prob:
        log.info("targets of mixed images are mixed from the teacher's probabilities; it does not see mixed images")
    return Features(
        *(np.concatenate(parts) for parts in zip(*((one.values, one.labels) for one in found), strict=True))
    )


def _compute_view(
    load: Callable[[], keras.Model], recipe: Recipe, pipeline: InputPipeline, seed: int, view: int, views: int
) -> Features:
    """Return the teacher's probabilities for one view, after a check that this and all later views can be kept."""
    model, images = load(), pipeline.num_examples(TRAIN)
    needed = FLOAT_BYTES * (model.output.shape[-1] + 1) * images * (views - view)
    scratch.check_free_scratch(needed, f"a teacher's probabilities for {views} views (distillation.views)")
    cache = "memory" if recipe.cache == "memory" else "none"  # the order of images in memory is another one
    batches = pipeline.train_batches(recipe.augment, seed, view + 1, cache, (view, 0))
    return extract_features(model, batches, images, f"view {view + 1} of {views} through the teacher")


def _view_name(teacher: Teacher, recipe: Recipe, dataset: str, seed: int, view: int) -> str:
    """Return a digest of all that determines the teacher's probabilities for one view."""
    unmixed = dataclasses.replace(recipe.augment, cutmix_prob=0.0, mixup_prob=0.0, erase_prob=0.0)
    return canonical_json.digest(
        {
            "teacher": teacher.sha256,
            "view": dataclasses.replace(teacher.view, zoom=1.0).to_dict(),  # training batches have no zoom
            "dataset": dataset,
            "augment": unmixed.to_dict(),
            "seed": seed,
            "number": view,
            "batch": recipe.batch_size,
            "memory": recipe.cache == "memory",
            "pixels": PIXELS,
            "versions": [tf.__version__, keras.__version__],
        }
    )


def add_targets(
    batches: tf.data.Dataset, targets: Features, rows: int, temperature: float, first: int
) -> tf.data.Dataset:
    """Return the batches (images, labels) with the teacher's softened probabilities, float32 [n, classes], as labels.

    Args:
        targets: of `compute_targets`.
        rows: images in a batch.
        first: number of the first batch, counted from the training's first.

    Raises:
        tf.errors.InvalidArgumentError: while iterated, where the images are not those that the teacher saw.
    """
    with tf.device("CPU"):  # a GPU's memory is for the model
        probabilities = tf.reshape(soften(targets.values, temperature), [-1, rows, targets.values.shape[1]])
        expected = tf.constant(targets.labels.reshape(-1, rows))

    def look_up(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        place = number % len(expected)
        with tf.control_dependencies([tf.debugging.assert_equal(labels, expected[place], "another order of images")]):
            return images, tf.identity(probabilities[place])

    return batches.enumerate(first).map(do_not_convert(look_up))
