"""Rows as processes with a time limit: one that aborts or hangs is reported, and the next one begins."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu.plan import Row

LONGEST = 180.0  # seconds that a row may take: a hang costs no more


@dataclass(frozen=True)
class Result:
    """How a row ended."""

    row: Row
    status: str  # done, failed, stopped (at its time limit), left out
    text: str  # what was found, or the reason
    seconds: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)  # that the row returned


def run_rows(
    rows: Sequence[Row],
    command_of: Callable[[Row], Sequence[str]],
    logs: Path,
    seconds: float,
    has_data: bool,
    longest: float = LONGEST,
) -> Iterator[Result]:
    """Run the rows one after another and yield how each ended.

    Args:
        command_of: returns the command of a row, which prints a JSON object as its last line.
        logs: folder that gets the stderr of each row.
        seconds: for all rows together; those that do not begin in time are left out.
        has_data: whether there is a dataset; the row `dataset` makes one.
        longest: seconds that one row may take.
    """
    end, gpus = time.monotonic() + seconds, 0
    for number, row in enumerate(rows, start=1):
        left = end - time.monotonic()
        if reason := _reason_to_leave_out(row, left, has_data, gpus):
            yield Result(row, "left out", reason)
            continue
        result = run_row(row, command_of(row), logs / f"{number:02}.log", min(left, longest))
        gpus = max(gpus, len(result.values.get("gpus", ())))  # of the row `environment`
        has_data = has_data or (row.name == "dataset" and result.status == "done")
        yield result


def _reason_to_leave_out(row: Row, left: float, has_data: bool, gpus: int) -> str:
    """Return why a row is not run, "" if it is."""
    if left <= 0:
        return "no time left, use more MINUTES"
    if row.needs_data and not has_data:
        return "there is no dataset"
    if gpus < row.min_gpus:
        return f"needs {row.min_gpus} GPUs"
    return ""


def run_row(row: Row, command: Sequence[str], log: Path, limit: float) -> Result:
    """Run one row; its processes are killed after `limit` seconds."""
    began = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return Result(row, "stopped", f"at its limit of {limit:.0f} s, after: {_last_line(log)}", limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    return _read(row, process.returncode, output, log, time.monotonic() - began)


def _read(row: Row, code: int, output: str, log: Path, seconds: float) -> Result:
    """Return the result of a process that has ended."""
    if code != row.exit_code:
        wanted = f" instead of {row.exit_code}" if row.exit_code else ""
        return Result(row, "failed", f"exit {code}{wanted}: {_last_line(log)}", seconds)
    if code:
        return Result(row, "done", f"exit {code}: {_last_line(log)}", seconds)
    values = json.loads(output.splitlines()[-1])
    return Result(row, "done", values.pop("text"), seconds, values)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
