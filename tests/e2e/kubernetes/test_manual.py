"""The commands of docs/kubernetes.md from an empty cluster to a champion and its predictions, as they stand there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.e2e.cluster import has_node
from tests.support.encoded_images import encoded
from tests.support.kubernetes.manifests import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
SECTION = (ROOT / "docs" / "kubernetes.md").read_text().split("\n## From an empty cluster")[1].split("\n## ")[0]
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL) for line in block.splitlines()]
PHOTOS = 12


def write_photos(folder: Path) -> None:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(PHOTOS):
        pixels = random.integers(0, 256, (90, 120, 3), dtype=np.uint8)
        (folder / f"photo {number}.jpg").write_bytes(encoded(pixels))


def secret(name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (ROOT / "k8s" / "base" / name).read_text().splitlines())


@contextmanager
def forward(command: str) -> Iterator[None]:
    """Run a port-forward as in a shell of its own."""
    with subprocess.Popen(shlex.split(command), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert "Forwarding from" in line, command
            yield
        finally:
            process.terminate()


def run(command: str, folder: Path) -> None:
    """Run a command of the manual; the images are copied to the node of `make cluster` by its own command."""
    if command.startswith("kind ") and has_node():
        command = "make cluster-load"
    began = time.monotonic()
    keys = secret("store.secret") if command.startswith("aws ") else {}
    place = folder if command.startswith("aws ") else ROOT
    environment = {**os.environ, **keys, "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False)
    print(f"{time.monotonic() - began:6.0f} s  {command}")
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def status(password: str) -> int:
    """Return the status code of the UI's page for a user with this password."""
    request = urllib.request.Request("http://localhost:5000/")
    request.add_header("Authorization", f"Basic {b64encode(f'admin:{password}'.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.skipif(not shutil.which("aws"), reason="needs the AWS command line, as the manual does")
def test_the_manuals_commands_lead_to_a_champion_and_its_predictions(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    print()
    with ExitStack() as forwards:
        for command in COMMANDS:
            if "port-forward" in command:
                forwards.enter_context(forward(command))
            else:
                run(command, tmp_path)
        assert status(secret("mlflow.secret")["MLFLOW_TRACKING_PASSWORD"]) == 200
        assert status("wrong") == 401
    [split] = json.loads((tmp_path / "predictions" / "manifest.json").read_text())["splits"].values()
    assert split["num_examples"] == PHOTOS
