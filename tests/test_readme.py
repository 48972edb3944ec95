"""What README and Makefile tell people to type exists."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]
TEXT = "\n".join(path.read_text() for path in DOCS)
COMMANDS = sorted(set(re.findall(r"^python -m (jobs\..+?)(?: {2,}#.*)?$", TEXT, re.MULTILINE)))


def test_there_are_commands_of_every_job() -> None:
    assert {command.split()[0] for command in COMMANDS} >= {
        "jobs.fetch",
        "jobs.preprocess",
        "jobs.train",
        "jobs.evaluate",
    }


@cache
def help_of(job: str) -> str:
    command = [sys.executable, "-m", job, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_has_only_real_options(command: str) -> None:
    job, *options = shlex.split(command)
    for option in options:
        if option.startswith("--"):
            assert re.search(rf"{option}\b", help_of(job)), f"{job} has no {option}"


def test_every_make_target_in_the_docs_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", TEXT, re.MULTILINE))
    assert {"demo", "ui", "test", "check", "e2e", "images", "gpu"} <= named <= targets
