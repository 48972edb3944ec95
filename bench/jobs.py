"""The suite's jobs as processes of their own, for benchmarks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(module: str, *options: str, **environment: str) -> str:
    """Run a module as a process of its own and return the last line that it printed."""
    command = [sys.executable, "-m", module, *options]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def job(name: str, *options: str, **environment: str) -> dict[str, Any]:
    """Run one job as a process of its own and return its summary."""
    summary: dict[str, Any] = json.loads(run(f"jobs.{name}", *options, **environment))
    return summary


def draw_raw(home: Path, per_class: int) -> str:
    """Draw archives of sketches below `home` and return where they are."""
    job("fetch", "--source", "synthetic", "--raw", f"{home}/raw", "--per-class", str(per_class))
    return f"{home}/raw"
