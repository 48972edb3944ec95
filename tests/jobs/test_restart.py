"""A worker that has lost another one replaces its program by the same one, as often as it may."""

import os
import signal
import sys
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from dogbreed.core.errors import WorkerLost
from jobs._restart import RESTARTS, restart
from jobs.train import main

LOST = WorkerLost("lost another one")


class Replaced(Exception):
    """What os.execv would have run, and the environment at that moment."""


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    def execv(path: str, arguments: Sequence[str]) -> None:
        raise Replaced(path, list(arguments), dict(os.environ))

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "jobs.train", "--epochs", "3"])
    monkeypatch.delenv(RESTARTS, raising=False)


def test_it_is_the_same_command_which_gets_no_signal_before_it_has_handlers() -> None:
    with pytest.raises(Replaced) as replaced:
        restart(LOST, max_restarts=2)
    path, arguments, environment = replaced.value.args
    assert (path, arguments) == (sys.executable, ["python", "-m", "jobs.train", "--epochs", "3"])
    assert environment[RESTARTS] == "1"
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    assert {signal.SIGTERM, signal.SIGHUP} <= blocked


def test_together_with_restart_it_would_never_end() -> None:
    done = CliRunner().invoke(main, ["--data", "d", "--recipe", "simple-64", "--restart", "--max-restarts", "1"])
    assert done.exit_code == 2
    assert "omit one" in done.output


def test_a_count_that_is_no_number_is_named_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESTARTS, "many")
    done = CliRunner().invoke(main, ["--data", "d", "--recipe", "simple-64", "--max-restarts", "1"])
    assert done.exit_code == 2
    assert "DOGBREED_RESTARTS is 'many', not a number" in done.output


@pytest.mark.parametrize(("before", "most"), [("0", 0), ("2", 2)])
def test_after_the_last_restart_the_loss_is_the_error(monkeypatch: pytest.MonkeyPatch, before: str, most: int) -> None:
    monkeypatch.setenv(RESTARTS, before)
    with pytest.raises(WorkerLost):
        restart(LOST, max_restarts=most)
