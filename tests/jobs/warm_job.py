"""A job forked from an interpreter that has TensorFlow imported already: seconds less than a process from nothing."""

import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tests.faults.attempt import attempt
from tests.faults.job import Order

LOGS, NUMBERS = tempfile.TemporaryDirectory(prefix="dogbreed-tests-"), itertools.count()


def job(name: str, *options: str, **environment: str) -> dict[str, Any]:
    """Run `python -m jobs.NAME` to its good end and return its summary."""
    log = Path(LOGS.name) / f"{next(NUMBERS)}-{name}"
    order = Order(
        options, {**os.environ, **environment}, log.with_suffix(".err"), log.with_suffix(".out"), f"jobs.{name}"
    )
    outcome = attempt(order)
    assert outcome.exit_code == 0, outcome.stderr[-3000:]
    summary: dict[str, Any] = json.loads(order.stdout.read_text().splitlines()[-1])
    return summary
