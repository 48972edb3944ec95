"""jobs.search --dry-run: what would be varied, and about what it would cost."""

import logging
from typing import TypedDict

from dogbreed.core import resources
from dogbreed.core.text import pluralize
from dogbreed.data.splits import TRAIN
from dogbreed.training.phases import count_epochs
from dogbreed.training.recipe import Recipe, apply_overrides, get_field
from dogbreed.training.search_spaces import Choice, SearchSpace
from dogbreed.workflows import batch_size_trial
from dogbreed.workflows.train_job import TrainJob

log = logging.getLogger(__name__)


class SearchPlan(TypedDict):
    """Summary of jobs.search --dry-run."""

    space: dict[str, str]
    settings: list[str]  # of all trials
    trials: int
    epochs: int  # of a trial with the recipe's own values
    images_per_second: float  # of a few training steps on random images; 0: a head alone is trained
    trial_hours: float  # of the clock; with the recipe's own values, but the most epochs, without stopping early
    study_hours: float  # of the clock; of all trials, one after the other, none pruned


def describe(job: TrainJob, space: SearchSpace, trials: int, data: str, settings: list[str]) -> SearchPlan:
    """Print the space beside the recipe's own values, take a few training steps, and return the plan."""
    space.check(job.recipe)
    recipe = apply_overrides(job.recipe, space.settings)
    width = max(map(len, space.parameters))
    for field, parameter in space.parameters.items():
        log.info("%-*s  %-14s  (the recipe: %s)", width, field, parameter, get_field(recipe, field))
    epochs = count_epochs(recipe, job.init_weights is not None)
    rate, hours = 0.0, 0.0
    if recipe.trainable_fraction:
        named = [*settings, *space.settings]
        weights = recipe.weights if recipe.weights != "none" else None
        rate = batch_size_trial.run(data, recipe.name, weights, named, "single")["images_per_second"]
        hours = _most_epochs(recipe, space) * job.manifest.split(TRAIN).num_examples / rate / 3600 if rate else 0.0
        log.info(
            "%s of about %.1f minutes each (%.0f images/s on %s), %.1f hours without pruning",
            pluralize(trials, "trial"), 60 * hours, rate, pluralize(resources.cores(), "core"), hours * trials,
        )  # fmt: skip
    else:
        log.info(
            "the features of all images are computed once; then each of %s takes seconds", pluralize(trials, "trial")
        )
    return {
        "space": {field: str(parameter) for field, parameter in space.parameters.items()},
        "settings": list(space.settings),
        "trials": trials,
        "epochs": epochs,
        "images_per_second": round(rate, 1),
        "trial_hours": round(hours, 4),
        "study_hours": round(hours * trials, 3),
    }


def _most_epochs(recipe: Recipe, space: SearchSpace) -> float:
    parameter = space.parameters.get("epochs")
    if isinstance(parameter, Choice):
        return max(map(float, parameter.values))
    return parameter.high if parameter else recipe.epochs
