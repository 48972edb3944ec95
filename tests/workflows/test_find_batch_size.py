"""jobs.train --find-batch-size: bisection with a faked memory, and real trials in processes of their own."""

import json
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

    def run_trial(self, arguments: dict[str, object]) -> Trial | None:
        settings = arguments["settings"]
        assert isinstance(settings, list)
        size = int(settings[-1].removeprefix("batch_size="))
        self.tried.append(size)
        return None if size > self.limit else {"batch_size": size, "images_per_second": 1.0, "peak_gib": 1.0}


@pytest.mark.parametrize(
    ("limit", "largest", "tried"),
    [
        (20, 20, [16, 28, 22, 19, 20]),
        (3, 3, [16, 8, 4, 2, 3]),
        (1000, 28, [16, 28]),
    ],
)
def test_the_largest_batch_below_a_limit_is_found_within_an_eighth(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, limit: int, largest: int, tried: list[int]
) -> None:
    memory = FakeMemory(limit)
    monkeypatch.setattr(find_batch_size, "run_trial", memory.run_trial)
    found = find_batch_size.find(str(dataset), "simple-64", None, SETTINGS, "auto")
    assert (found["batch_size"], memory.tried) == (largest, tried)
    assert [trial["batch_size"] for trial in found["trials"]] == [size for size in tried if size <= limit]


def test_a_model_of_which_not_one_image_fits_is_78(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_batch_size, "run_trial", FakeMemory(0).run_trial)
    with pytest.raises(EnvironmentUnsupported, match="smaller recipe"):
        find_batch_size.find(str(dataset), "simple-64", None, SETTINGS, "auto")


def test_a_trial_trains_a_few_steps_in_a_process_of_its_own_and_nothing_is_kept(dataset: Path, tmp_path: Path) -> None:
    arguments = {"data": str(dataset), "recipe": "simple-64", "weights": None, "strategy": "single"}
    done = run("dogbreed.workflows.batch_size_trial", json.dumps(arguments | {"settings": SETTINGS}))
    assert done.returncode == 0, done.stderr
    trial = json.loads(done.stdout.splitlines()[-1])
    assert trial["batch_size"] == 16
    assert trial["images_per_second"] > 0
    assert 0.1 < trial["peak_gib"] < 10


def test_a_trial_that_needs_more_memory_than_there_is_ends_with_78(dataset: Path) -> None:
    arguments = {"data": str(dataset), "recipe": "simple-64", "weights": None, "strategy": "single"}
    assert find_batch_size.run_trial(arguments | {"settings": ["size=32", "batch_size=10000000"]}) is None


def test_a_trial_that_fails_for_another_reason_is_told(dataset: Path) -> None:
    arguments = {"data": str(dataset), "recipe": "no-such-recipe", "weights": None, "strategy": "single"}
    with pytest.raises(EnvironmentUnsupported, match="no-such-recipe"):
        find_batch_size.run_trial(arguments | {"settings": []})
