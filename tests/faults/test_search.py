"""Processes of a study that are killed at random moments: no trial is lost or recorded twice."""

import shutil
from pathlib import Path

import pytest

from tests.support.faults.search_kills import SearchTeam


@pytest.mark.parametrize(
    ("kills", "trials", "pause"),
    [(1, 4, (6.5, 8.0)), pytest.param(20, 40, (3.0, 9.0), marks=pytest.mark.long)],
)
def test_two_processes_that_are_killed_complete_their_study(
    dataset: Path, tmp_path: Path, kills: int, trials: int, pause: tuple[float, float]
) -> None:
    shutil.copytree(dataset, tmp_path / "dogs")
    team = SearchTeam(
        tmp_path, f"sqlite:///{tmp_path}/search.db", trials, ("--set", "size=32", "--set", "batch_size=8")
    )
    team.check(team.run(kills, team=2, pause=pause))
