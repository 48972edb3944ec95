"""Processes of a study that are killed at random moments: no trial is lost or recorded twice."""

import shutil
from pathlib import Path

import pytest

from tests.support.faults.search_kills import SearchTeam

SMALL = ("--set", "size=32", "--set", "batch_size=8")


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    shutil.copytree(dataset, tmp_path / "dogs")
    return tmp_path


def test_a_trial_whose_process_is_killed_is_completed_by_another(folder: Path) -> None:
    team = SearchTeam(folder, f"sqlite:///{folder}/search.db", 3, SMALL)
    team.check(team.run_with_one_loss())


@pytest.mark.long
def test_twenty_kills_of_two_processes_lose_no_trial(folder: Path) -> None:
    team = SearchTeam(folder, f"sqlite:///{folder}/search.db", 40, SMALL, repeat_best=1)
    team.check(team.run(20, team=2, pause=(3.0, 9.0)))
