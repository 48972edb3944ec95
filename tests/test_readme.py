"""What README and Makefile tell people to type exists."""

import os
import re
import shlex
import shutil
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


def test_make_demo_and_make_ui_run_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b'ä#$(x)"
    (folder / "jobs").mkdir(parents=True)
    (folder / "docker").mkdir()
    (folder / "docker" / "requirements-dev.lock").touch()
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "ready").touch()
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "jobs" / "demo.sh", folder / "jobs")
    for program in ("python", "mlflow"):
        (folder / ".venv" / "bin" / program).write_text(
            '#!/bin/sh\nprintf "%s|" "$MLFLOW_TRACKING_URI" "$@" >> calls\n'
        )
        (folder / ".venv" / "bin" / program).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    for demo, where in (("demo", f"{folder}/demo"), ("my demo", f"{folder}/my demo"), ("/tmp/x y", "/tmp/x y")):
        for target in ("demo", "ui"):
            command = ["make", "--silent", target, f"DEMO={demo}"]
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
        calls = (folder / "calls").read_text()
        (folder / "calls").unlink()
        assert calls.count(f"sqlite:///{where}/mlflow.db|") == 6, "four jobs; the server as a variable and as an option"
        assert f"jobs.fetch|--source|synthetic|--raw|{demo}/raw|" in calls


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
