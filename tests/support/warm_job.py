"""A job forked from an interpreter that has TensorFlow imported already: seconds less than a process from nothing."""

import itertools
import json
import os
import tempfile
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.support.attempt import attempt
from tests.support.watched_job import Order

LOGS, NUMBERS = tempfile.TemporaryDirectory(prefix="dogbreed-tests-"), itertools.count()


def run(module: str, *options: str, **environment: str) -> CompletedProcess[str]:
    """Run `python -m MODULE` to its end."""
    log = Path(LOGS.name) / f"{next(NUMBERS)}-{module}"
    stderr, stdout = log.with_suffix(".stderr"), log.with_suffix(".stdout")
    outcome = attempt(Order(options, {**os.environ, **environment}, stderr, stdout, module))
    assert outcome.exit_code is not None, outcome.stderr
    return CompletedProcess(["-m", module, *options], outcome.exit_code, stdout.read_text(), outcome.stderr)


def job(name: str, *options: str, **environment: str) -> dict[str, Any]:
    """Run a job to its good end and return its summary."""
    done = run(f"jobs.{name}", *options, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary
