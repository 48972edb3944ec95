"""jobs.train --find-batch-size: the largest batch that fits into memory, by bisection in processes of their own."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TypedDict

from dogbreed.core import rendezvous
from dogbreed.core.errors import EnvironmentUnsupported, UsageError
from dogbreed.core.storage import open_store
from dogbreed.data.manifest import load_manifest
from dogbreed.data.splits import TRAIN
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import recipe_for_weights
from dogbreed.training.strategy import resolve_strategy
from dogbreed.workflows.batch_size_trial import Trial

PRECISE = 8  # stop when the smallest that does not fit is at most an eighth above the largest that does
TOO_LARGE = 78  # exit code of a trial that does not fit
KILLED = (-6, -9, 134, 137)  # an allocation that failed in C++, or the kernel without memory

log = logging.getLogger(__name__)


class Summary(TypedDict):
    """Summary of jobs.train --find-batch-size."""

    batch_size: int  # the largest that fits
    trials: list[Trial]


def find(data: str, recipe: str, weights: str | None, settings: Sequence[str], strategy: str) -> Summary:
    """Try batch sizes, beginning with the recipe's, up to the number of train images; nothing is trained.

    Args:
        data, recipe, weights, settings, strategy: as the options of jobs.train.

    Raises:
        EnvironmentUnsupported: not even one image fits, or a trial fails for another reason.
    """
    chosen = apply_overrides(recipe_for_weights(recipe, weights), settings)
    distribution = resolve_strategy(strategy, rendezvous.cluster_from_env(), chosen)
    if distribution.num_processes > 1:
        raise UsageError("--find-batch-size with several workers is not supported; start one process")
    images, unit = load_manifest(open_store(data)).split(TRAIN).num_examples, distribution.batch_unit
    arguments = {"data": data, "recipe": recipe, "weights": weights, "strategy": distribution.name}
    trials: list[Trial] = []

    def fits(units: int) -> bool:
        size = units * unit
        return _log(trials, size, run_trial(arguments | {"settings": [*settings, f"batch_size={size}"]}))

    largest = unit * bisect(max(1, min(chosen.batch_size, images) // unit), max(1, images // unit), fits)
    if not largest:
        raise EnvironmentUnsupported(f"not even {unit} images fit into memory; choose a smaller recipe")
    log.info("the largest batch that fits: --batch-size %d", largest)
    return {"batch_size": largest, "trials": trials}


def bisect(start: int, limit: int, fits: Callable[[int], bool]) -> int:
    """Return about the largest number up to `limit` that fits, 0 for none; larger numbers fit less."""
    good, bad, size = 0, limit + 1, start
    while bad - good > max(1, good // PRECISE):
        if fits(size):
            good = size
        else:
            bad = size
        doubled, middle = min(2 * good, limit), (good + bad) // 2
        size = doubled if bad > limit else middle
    return good


def run_trial(arguments: dict[str, object]) -> Trial | None:
    """Return what a batch size takes, None where it does not fit."""
    command = [sys.executable, "-m", "dogbreed.workflows.batch_size_trial", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        trial: Trial = json.loads(done.stdout.splitlines()[-1])
        return trial
    if done.returncode == TOO_LARGE or done.returncode in KILLED:
        return None
    raise EnvironmentUnsupported(f"a trial ended with {done.returncode}: {done.stderr[-2000:]}")


def _log(trials: list[Trial], size: int, trial: Trial | None) -> bool:
    """Log a line of the table, and return whether the batch fits."""
    if trial is None:
        log.info("batches of %5d: do not fit", size)
        return False
    trials.append(trial)
    peak, rate = trial["peak_gib"], trial["images_per_second"]
    log.info("batches of %5d: fit, %6.1f GiB at most, %8.0f images/s", size, peak, rate)
    return True
