"""Logs and progress go to stderr, so that stdout holds nothing but the summary."""

import io
import logging
import subprocess
import sys

import pytest

from dogbreed.core import log


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def test_records_go_to_stderr_with_level_and_job_and_stdout_stays_empty() -> None:
    done = run(
        "import logging; from dogbreed.core import log; log.configure('train-7');"
        "logging.getLogger('dogbreed.x').info('hello'); logging.getLogger('x').debug('hidden');"
        "logging.getLogger('botocore').info('chatter')"
    )
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.split(" ", 1)[1] == "INFO    train-7 hello"


def test_progress_passes_the_items_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(log.progress(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_progress_without_a_terminal_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(log, "LINE_EVERY", -1.0)
    with caplog.at_level(logging.INFO):
        assert list(log.progress(range(2), "crops", total=2)) == [0, 1]
    assert caplog.messages == ["crops: 1 of 2 images", "crops: 2 of 2 images"]


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(log.progress(range(3), "crops", total=3)) == [0, 1, 2]
    assert "crops" in terminal.getvalue()
    assert "3" in terminal.getvalue()
