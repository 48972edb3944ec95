"""The commands of docs/search.md on a small dataset: real trainings, in this process."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tensorflow.python.framework import config

from tests.support.in_process import call

DOC = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
COMMANDS = [shlex.split(text) for text in re.findall(r"^python -m jobs\.search (.+)$", DOC, re.MULTILINE)]
SMALLER = ("--set", "size=32", "--set", "epochs=2", "--deterministic")
BATCH = ("--set", "batch_size=8")
GROWTH = 0.05  # of resident memory from the second to the sixth training of a process

Search = Callable[..., dict[str, Any]]


@pytest.fixture
def search(dataset: Path, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    shutil.copy(empty_database, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shutil.copytree(dataset, tmp_path / "dogs")
    yield lambda *options: call("search", "--data", str(tmp_path / "dogs"), *options, *SMALLER)
    config.disable_op_determinism()  # of --deterministic: other tests compile by XLA, which excludes it


def options_of(command: list[str]) -> list[str]:
    """Return the options of a documented command but for the dataset, with two trials, the best one repeated."""
    fewer = {"--trials": "2", "--repeat-best": "1"}
    pairs = zip(command, ["", *command[:-1]], strict=True)
    smaller = () if any("batch_size" in word for word in command) else BATCH
    kept = [fewer.get(before, word) for word, before in pairs if "--data" not in (word, before)]
    trials = [] if "--trials" in kept or "--dry-run" in kept else ["--trials", "2"]
    return [*kept, *trials, *smaller]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--weights" not in c], ids=" ".join)
def test_a_documented_command_works(search: Search, command: list[str]) -> None:
    found = search(*options_of(command))
    if "--dry-run" in command:
        assert found["images_per_second"] > 0
        assert found["study_hours"] == pytest.approx(40 * found["trial_hours"], abs=0.01)  # both are rounded
        assert set(found["space"]) >= {"learning_rate", "dropout"}
    else:
        assert (found["trials"], found["running"], found["failed"]) == (2, 0, 0)


def test_the_printed_command_repeats_the_best_trial(search: Search) -> None:
    found = search("--recipe", "simple-64", "--vary", "learning_rate=log:1e-3:1e-2", "--trials", "2", *BATCH)
    words = shlex.split(found["command"])
    assert words[:3] == ["python", "-m", "jobs.train"]
    trained = call("train", *words[3:], "--deterministic")
    assert trained["val_top1"] == found["best_val_top1"]
    assert trained["model_version"] == 1


@pytest.mark.long
def test_six_trainings_of_a_process_do_not_grow(search: Search) -> None:
    sizes = []
    for trials in range(1, 7):
        search("--recipe", "simple-64", "--vary", "dropout=0:0.5", "--trials", str(trials), *BATCH)
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] <= (1 + GROWTH) * sizes[1], [size >> 20 for size in sizes]
