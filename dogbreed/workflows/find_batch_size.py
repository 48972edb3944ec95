"""jobs.train --find-batch-size: the largest batch that fits into memory, by bisection in processes of their own."""

import json
import logging
import signal
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
from dogbreed.workflows import preflight
from dogbreed.workflows.batch_size_trial import Trial

MODULE = "dogbreed.workflows.batch_size_trial"
TOLERANCE = 8  # stop when the smallest that does not fit is at most an eighth above the largest that does
KILLED = (-signal.SIGABRT, -signal.SIGKILL)  # an allocation failed in C++, or the kernel had no memory left

log = logging.getLogger(__name__)


class Summary(TypedDict):
    """Summary of jobs.train --find-batch-size."""

    batch_size: int  # the largest that fits
    trials: list[Trial]


def find(
    data: str, recipe: str, weights: str | None, settings: Sequence[str], strategy: str, gpus: int | None
) -> Summary:
    """Try batch sizes, beginning with the recipe's, up to the number of train images; nothing is trained.

    Args:
        data, recipe, weights, settings, strategy, gpus: as the options of jobs.train.

    Raises:
        EnvironmentUnsupported: not even one image fits, or a trial fails for another reason.
    """
    chosen = apply_overrides(recipe_for_weights(recipe, weights), settings)
    distribution = resolve_strategy(strategy, rendezvous.cluster_from_env(), chosen)
    if distribution.num_processes > 1:
        raise UsageError("--find-batch-size with several workers is not supported; start one process")
    store = open_store(data)
    images, unit = load_manifest(store).split(TRAIN).num_examples, distribution.batch_unit
    preflight.before_job(store, gpus=gpus, tracked=False, single_process=False)  # the trials compute, not this process
    arguments = {"data": data, "recipe": recipe, "weights": weights, "strategy": distribution.name}
    trials: list[Trial] = []

    def fits(units: int) -> bool:
        size = units * unit
        trials.append(run_trial(arguments | {"settings": [*settings, f"batch_size={size}"]}, size))
        _log(trials[-1])
        return not trials[-1]["problem"]

    largest = unit * bisect(max(1, min(chosen.batch_size, images) // unit), max(1, images // unit), fits)
    if not largest:
        raise EnvironmentUnsupported(f"a batch of {unit} does not fit into memory; choose a smaller recipe")
    if any(trial["problem"] for trial in trials):
        log.info("the largest batch that fits: --batch-size %d", largest)
    else:
        log.info("every batch tried fits, up to the %d train images: --batch-size %d", images, largest)
    return {"batch_size": largest, "trials": trials}


def bisect(start: int, limit: int, fits: Callable[[int], bool]) -> int:
    """Return about the largest number up to `limit` that fits, 0 for none, if no number above a failing one fits."""
    good, bad, size = 0, limit + 1, start
    while bad - good > max(1, good // TOLERANCE):
        if fits(size):
            good = size
        else:
            bad = size
        doubled, middle = min(2 * good, limit), (good + bad) // 2
        size = doubled if bad > limit else middle
    return good


def run_trial(arguments: dict[str, object], batch_size: int) -> Trial:
    """Try a batch size in a process of its own; EnvironmentUnsupported if it fails for another reason than memory."""
    command = [sys.executable, "-m", MODULE, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        trial: Trial = json.loads(done.stdout.splitlines()[-1])
        return trial
    if done.returncode in KILLED:
        problem = f"the process was ended by {signal.Signals(-done.returncode).name}"
        return {"batch_size": batch_size, "problem": problem, "images_per_second": 0.0, "peak_gib": 0.0}
    raise EnvironmentUnsupported(f"a trial exited with {done.returncode}: {done.stderr[-2000:]}")


def _log(trial: Trial) -> None:
    """Log a line of the table."""
    size, problem = trial["batch_size"], trial["problem"]
    if problem:
        log.info("batches of %5d do not fit: %s", size, problem)
    else:
        peak, rate = trial["peak_gib"], trial["images_per_second"]
        log.info("batches of %5d fit, %6.1f GiB at most, %8.0f images/s", size, peak, rate)
