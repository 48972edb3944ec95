"""The compose files as Docker Compose itself reads them; no engine is needed."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).with_name("docker-compose")


@cache
def config(*files: str, **environment: str) -> dict[str, Any]:
    """Return what Docker Compose itself makes of the files; it checks them against its schema first."""
    options = [word for file in files or ("docker-compose.yml",) for word in ("-f", file)]
    done = subprocess.run(
        [str(COMPOSE), *options, "--env-file", "/dev/null", "--profile", "tools", "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def services(**environment: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = config(**environment)["services"]
    return found
