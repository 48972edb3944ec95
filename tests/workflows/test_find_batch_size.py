"""jobs.train --find-batch-size: bisection with a faked memory, and real trials in processes of their own."""

import json
import logging
from pathlib import Path

import pytest

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.workflows import find_batch_size
from dogbreed.workflows.batch_size_trial import Trial
from tests.support.warm_job import run

SETTINGS = ["size=32", "batch_size=16"]


class FakeMemory:
    """Trials of which those above a limit do not fit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.tried = limit, list[int]()

    def run_trial(self, arguments: dict[str, object], batch_size: int) -> Trial:
        self.tried.append(batch_size)
        problem = "too large" if batch_size > self.limit else ""
        return {"batch_size": batch_size, "problem": problem, "images_per_second": 1.0, "peak_gib": 1.0}


@pytest.mark.parametrize(
    ("limit", "largest", "tried"),
    [
        (20, 20, [16, 28, 22, 19, 20]),
        (3, 3, [16, 8, 4, 2, 3]),
        (1000, 28, [16, 28]),
    ],
)
def test_the_largest_batch_below_a_limit_is_found_within_an_eighth(
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: int,
    largest: int,
    tried: list[int],
) -> None:
    caplog.set_level(logging.INFO)
    memory = FakeMemory(limit)
    monkeypatch.setattr(find_batch_size, "run_trial", memory.run_trial)
    found = find_batch_size.find(str(dataset), "simple-64", None, SETTINGS, "auto", None)
    assert (found["batch_size"], memory.tried) == (largest, tried)
    fitting = [trial["batch_size"] for trial in found["trials"] if not trial["problem"]]
    assert fitting == [size for size in tried if size <= limit]
    what = "the largest batch that fits" if limit < 28 else "every batch tried fits, up to the 28 train images"
    assert caplog.messages[-1] == f"{what}: --batch-size {largest}"


def test_a_model_of_which_not_one_image_fits_is_78(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_batch_size, "run_trial", FakeMemory(0).run_trial)
    with pytest.raises(EnvironmentUnsupported, match="smaller recipe"):
        find_batch_size.find(str(dataset), "simple-64", None, SETTINGS, "auto", None)


def trial(dataset: Path, *settings: str) -> Trial:
    """Run a trial in a process of its own and return its result."""
    arguments = {"data": str(dataset), "recipe": "simple-64", "weights": None, "strategy": "single"}
    done = run("dogbreed.workflows.batch_size_trial", json.dumps(arguments | {"settings": settings}))
    assert done.returncode == 0, done.stderr
    found: Trial = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_trial_trains_a_few_steps_and_measures_them(dataset: Path) -> None:
    found = trial(dataset, *SETTINGS, "ema_decay=0.9", "steps_per_execution=4")
    assert (found["batch_size"], found["problem"]) == (16, "")
    assert found["images_per_second"] > 0
    assert 0.1 < found["peak_gib"] < 10


def test_a_trial_that_needs_more_memory_than_there_is_says_so(dataset: Path) -> None:
    found = trial(dataset, "size=32", "batch_size=10000000")
    assert "GiB may be used" in found["problem"]


def test_a_process_that_is_killed_for_memory_is_a_batch_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_batch_size, "MODULE", "tests.support.killed_process")
    assert "SIGKILL" in find_batch_size.run_trial({}, 8)["problem"]


def test_a_trial_that_fails_for_another_reason_is_an_error(dataset: Path) -> None:
    arguments = {"data": str(dataset), "recipe": "no-such-recipe", "weights": None, "strategy": "single"}
    with pytest.raises(EnvironmentUnsupported, match="no-such-recipe"):
        find_batch_size.run_trial(arguments | {"settings": []}, 8)
