"""What README and Makefile tell people to type exists."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.models import keras_applications
from tests.support.other_data import write_tree

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


STEPS = re.findall(r"^python -m (jobs\..+?)(?: {2,}#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
SMALLER = {  # what is added to a command of the README: generated images and few epochs instead of a download and hours
    "jobs.fetch": "--source synthetic --classes 3 --per-class 20",
    "jobs.preprocess": "--source synthetic",
    "jobs.train": "--epochs 1",
}


def shortened(command: str) -> list[str]:
    """Return a command of the README on generated images, with a file of weights instead of a download."""
    words = shlex.split(command.replace("--weights imagenet", "--weights body.weights.h5 --set head.epochs=1"))
    if "--list-models" in words or "--source" in words:
        return words
    return [*words, *shlex.split(SMALLER.get(words[0], ""))]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_steps_of_the_readme_lead_to_a_champion_and_its_predictions(tmp_path: Path) -> None:
    keras_applications.application("MobileNetV2", 160).save_weights(tmp_path / "body.weights.h5")
    write_tree(LocalStore(tmp_path / "my-images"), [f"{name}/{n}.jpg" for name in ("Pug", "Collie") for n in range(20)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    assert len(STEPS) >= 10
    for step in STEPS:
        done = subprocess.run(
            [sys.executable, "-m", *shortened(step)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{step}: {done.stderr[-2000:]}"
    assert (tmp_path / "predictions" / "manifest.json").exists()
    assert (tmp_path / "leaderboard" / "leaderboard.md").exists()
