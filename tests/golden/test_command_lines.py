"""The options of each job and the exit code of each error."""

import errno
import importlib
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dogbreed.core import errors
from dogbreed.core.errors import DogbreedError, ShutdownRequested
from jobs import _cli
from tests.support.golden.literals import assert_json, assert_text

JOBS = ("fetch", "preprocess", "train", "evaluate", "predict", "compare", "search", "preflight")


def described_kind(option: click.Option) -> str:
    """Return what an option takes: flag, or the name of its type with its range or choices."""
    kind = option.type
    if option.is_flag:
        return "flag"
    if isinstance(kind, click.Choice):
        return f"choice({'|'.join(kind.choices)})"
    if isinstance(kind, click.IntRange | click.FloatRange):
        ends = ("" if end is None else str(end) for end in (kind.min, kind.max))
        return f"{kind.name.partition(' ')[0]}({'..'.join(ends)})"
    return kind.name


def described(job: click.Command, option: click.Option) -> str:
    """Return an option as one line: flags, parameter, variables, type, default and whether it may or must be given."""
    automatic = f"{job.context_settings['auto_envvar_prefix']}_{option.name}".upper()
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or [])
    default = option.get_default(click.Context(job))
    given = isinstance(default, str | int | float) and default is not False  # else a value of click's own, or None
    words = {"required": option.required, "multiple": option.multiple, "eager": option.is_eager}
    line = [*option.opts, option.metavar or "", described_kind(option), f"default {default!r}" if given else ""]
    line += [word for word, holds in words.items() if holds]
    return "  ".join([word for word in line if word] + [f"env {' '.join([*variables, automatic])}"])


@pytest.mark.parametrize("job", JOBS)
def test_options(job: str) -> None:
    command: click.Command = importlib.import_module(f"jobs.{job}").main
    assert command.name == job
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert options == command.params
    assert_text(f"options-{job}.txt", "".join(f"{described(command, option)}\n" for option in options))


def classes(base: type[BaseException]) -> dict[str, int]:
    """Return the exit code of a class of errors and of all below it, by name."""
    found = {base.__name__: base.exit_code}  # type: ignore[attr-defined]
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            found |= classes(kind)
    return found


def exit_code(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return what a job ends with that raises this error."""
    monkeypatch.setattr(_cli.log, "configure", lambda job: None)
    monkeypatch.setattr(_cli.signals, "install_handlers", lambda: None)

    @_cli.job("probe")
    def probe() -> dict[str, Any]:
        raise error

    return CliRunner().invoke(probe, []).exit_code


def test_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = {
        "no error of the suite's": ValueError("x"),
        "stopped by SIGTERM": ShutdownRequested(),
        "stopped by Ctrl-C": ShutdownRequested("stopped", 130),
        "no room": OSError(errno.ENOSPC, "x"),
        "over quota": OSError(errno.EDQUOT, "x"),
        "not permitted": PermissionError(errno.EACCES, "x"),
        "CorruptData": errors.CorruptData("x"),
        "wrong option": click.UsageError("x"),
    }
    ended = {name: exit_code(error, monkeypatch) for name, error in raised.items()}
    assert_json("exit-codes.json", {"classes": classes(DogbreedError), "jobs": ended})
