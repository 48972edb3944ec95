"""A worker that has lost another one replaces its program by the same one, as often as it may."""

import os
import sys
from collections.abc import Sequence

import pytest

from dogbreed.core.errors import WorkerLost
from jobs._restart import RESTARTS, restart

LOST = WorkerLost("lost another one")


class Replaced(Exception):
    """What os.execv would have run, and the environment at that moment."""


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    def execv(path: str, arguments: Sequence[str]) -> None:
        raise Replaced(path, list(arguments), dict(os.environ))

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "jobs.train", "--restart", "--epochs", "3"])
    monkeypatch.setenv("DOGBREED_TRAIN_RESTART", "true")
    monkeypatch.delenv(RESTARTS, raising=False)


def test_it_resumes_even_if_the_first_start_was_to_begin_anew() -> None:
    with pytest.raises(Replaced) as replaced:
        restart(LOST, max_restarts=2)
    path, arguments, environment = replaced.value.args
    assert (path, arguments) == (sys.executable, ["python", "-m", "jobs.train", "--epochs", "3"])
    assert environment[RESTARTS] == "1"
    assert "DOGBREED_TRAIN_RESTART" not in environment


@pytest.mark.parametrize(("before", "most"), [("0", 0), ("2", 2)])
def test_after_the_last_restart_the_loss_is_the_error(monkeypatch: pytest.MonkeyPatch, before: str, most: int) -> None:
    monkeypatch.setenv(RESTARTS, before)
    with pytest.raises(WorkerLost):
        restart(LOST, max_restarts=most)
