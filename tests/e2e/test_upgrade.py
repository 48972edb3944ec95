"""Data of other versions and of the real archive, in a stack of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.e2e.stack import CANARIES, DOCKER, ROOT, Stack, docker

pytestmark = pytest.mark.e2e

REAL = ROOT.parent / "shared" / "stanford-dogs-small"
BREEDS = "Chihuahua,Maltese_dog,Afghan_hound,beagle,borzoi,Yorkshire_terrier,golden_retriever,collie,Siberian_husky,pug"


@pytest.fixture
def fresh(worker: int) -> Iterator[Stack]:
    """A stack without data; the shared one may stand beside it."""
    own = Stack(f"dogbreed-e2e-fresh-{worker}", 5060 + worker, 9070 + worker)
    own.remove()
    yield own
    own.remove()


def test_a_database_of_an_older_mlflow_is_migrated_and_its_runs_are_kept(fresh: Stack) -> None:
    secrets = [
        option
        for name, variable in (("pip", "PIP_CONF"), ("ca", "CA_CERT"))
        if os.environ.get(variable)
        for option in ("--secret", f"id={name},src={os.environ[variable]}")
    ]
    build = [
        DOCKER,
        "build",
        "--quiet",
        *secrets,
        "-f",
        "tests/e2e/old_mlflow.Dockerfile",
        "-t",
        "dogbreed-old-mlflow",
        ".",
    ]
    subprocess.run(build, cwd=ROOT, env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=True, capture_output=True)
    fresh.compose("up", "--detach", "--no-build", "--wait", "postgres")
    address = f"postgresql+psycopg2://mlflow:{CANARIES['POSTGRES_PASSWORD']}@postgres/mlflow"
    code = f"""
import mlflow
mlflow.set_tracking_uri("{address}")
mlflow.set_experiment("dogbreed/train")
with mlflow.start_run(run_name="a-year-ago") as run:
    mlflow.log_metric("val_top1", 0.25)
print(mlflow.__version__, run.info.run_id)
"""
    old = docker("run", "--rm", "--network", f"{fresh.project}_default", "dogbreed-old-mlflow", code)
    version, run_id = old.stdout.split()[-2:]
    assert version == "3.1.4"
    fresh.compose("up", "--detach", "--no-build", "--wait", "mlflow")
    run = fresh.tracking.get_run(run_id)
    assert run.info.run_name == "a-year-ago"
    assert run.data.metrics == {"val_top1": 0.25}


@pytest.mark.skipif(not REAL.exists(), reason="the real photos are not here")
def test_ten_real_breeds_give_the_same_dataset_and_accuracy_inside_and_outside(fresh: Stack, tmp_path: Path) -> None:
    fresh.settings = {
        "DOGBREED_SOURCE": "stanford-dogs",
        "DOGBREED_FETCH_ALLOW_OTHER_CHECKSUMS": "true",  # a small copy of the published archive
        "DOGBREED_PREPROCESS_CLASSES": BREEDS,
        "DOGBREED_TRAIN_RECIPE": "simple-64",
        "DOGBREED_TRAIN_EPOCHS": "15",
        "DOGBREED_TRAIN_DETERMINISTIC": "true",
    }
    fresh.compose("up", "--detach", "--no-build", "--wait", "mlflow")
    fresh.compose("run", "--rm", "--no-deps", "--volume", f"{REAL}:/raw:ro", "fetch", "--from", "/raw")
    fresh.up()

    def job(name: str, *options: str) -> dict[str, object]:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
        command = [sys.executable, "-m", f"jobs.{name}", *options]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        summary: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return summary

    data = str(tmp_path / "dogs")
    made = job("preprocess", "--raw", str(REAL), "--out", data, "--size", "64", "--classes", BREEDS)
    job("train", "--data", data, "--recipe", "simple-64", "--epochs", "15", "--deterministic")
    outside = job("evaluate", "--data", data)
    inside = fresh.summary("evaluate")
    print(f"digest {made['digest']}; top-1 outside {outside['top1']:.4f}, inside {inside['top1']:.4f}")
    assert fresh.summary("preprocess")["digest"] == made["digest"]
    assert inside["images"] == outside["images"]
    assert inside["top1"] == pytest.approx(outside["top1"], abs=0.01)
