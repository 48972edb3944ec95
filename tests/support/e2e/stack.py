"""A compose stack of the tests' own: what people type, and what they would look at."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import mlflow

ROOT = Path(__file__).parents[3]
DOCKER = os.environ.get("DOCKER") or shutil.which("docker") or "docker"
VERSION = os.environ.get("DOGBREED_VERSION") or "0.1.0"  # as in docker/build.sh
# passwords that no log may ever show
CANARIES = {
    "STORE_ACCESS_KEY": "e2e",
    "STORE_SECRET_KEY": "canarystoresecret",
    "POSTGRES_PASSWORD": "canarydatabase",
    "SEARCH_PASSWORD": "canarysearch",
    "MLFLOW_ADMIN_PASSWORD": "canarymlflowadmin",
    "MLFLOW_SECRET_KEY": "canarysessions",
}


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the engine's client and keep what it prints."""
    done = subprocess.run([DOCKER, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done


def eventually(condition: Callable[[], bool], what: str, seconds: float = 120, every: float = 0.1) -> None:
    """Wait until the condition holds, looking again after `every` seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:g} s"
        time.sleep(every)


@dataclass
class Stack:
    """One compose project; `settings` are what a user would write to .env."""

    project: str
    mlflow_port: int = 5050
    store_port: int = 9090
    settings: dict[str, str] = field(default_factory=dict)
    last_up: dict[str, str] = field(default_factory=dict)  # the further settings of the last `up`

    def compose(self, *arguments: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run Docker Compose with the stack's settings and further ones."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("docker-compose")), "--env-file", "/dev/null", *arguments],
            cwd=ROOT,
            env=self._environment(settings),
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"compose {' '.join(arguments)}: {done.stderr[-4000:]}"
        return done

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
        """Run Docker Compose in the background."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("docker-compose")), "--env-file", "/dev/null", *arguments],
            cwd=ROOT,
            env=self._environment(settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        ports = {"MLFLOW_PORT": str(self.mlflow_port), "STORE_PORT": str(self.store_port)}
        own = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "COMPOSE_PROJECT_NAME": self.project}
        own |= {"DOGBREED_VERSION": VERSION}
        return {**own, **ports, **CANARIES, **self.settings, **settings}

    def up(self, **settings: str) -> None:
        """`docker compose up`, until the last job has ended well."""
        self.last_up = settings
        self.compose("up", "--detach", "--no-build", **settings)
        assert self.exit_code("evaluate") == 0, self.logs("evaluate")

    def remove(self) -> None:
        """Take everything down, volumes too."""
        self.compose("--profile", "tools", "down", "--volumes", "--remove-orphans")

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def exit_code(self, service: str) -> int:
        """Wait for a container's end and return its exit code."""
        return int(docker("wait", self.container(service)).stdout)

    def state(self, service: str) -> str:
        """Return created, running, exited ... or nothing where there is no such container."""
        return docker("inspect", "--format", "{{.State.Status}}", self.container(service), check=False).stdout.strip()

    def logs(self, service: str) -> str:
        done = docker("logs", self.container(service))
        return done.stdout + done.stderr

    def starts(self, service: str) -> int:
        """Return how often a job has begun in its container."""
        return docker("logs", self.container(service), check=False).stderr.count("GPUs:")

    def last_start(self, service: str) -> str:
        """Return what a job has said since it last began."""
        return docker("logs", self.container(service), check=False).stderr.rpartition("GPUs:")[2]

    def summary(self, service: str) -> dict[str, Any]:
        """Return what a job printed last."""
        parsed: dict[str, Any] = json.loads(docker("logs", self.container(service)).stdout.splitlines()[-1])
        return parsed

    @property
    def tracking(self) -> mlflow.MlflowClient:
        """MLflow's own API, from outside."""
        return mlflow.MlflowClient(f"http://localhost:{self.mlflow_port}")

    def runs(self, job: str) -> list[mlflow.entities.Run]:
        """Return the finished runs of a job, newest first."""
        experiment = self.tracking.get_experiment_by_name(f"dogbreed/{job}")
        if experiment is None:
            return []
        return list(self.tracking.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'"))

    def objects(self, prefix: str = "") -> dict[str, tuple[str, Any]]:
        """Return ETag and time of every object in the bucket `dogbreed`."""
        client = boto3.client(
            "s3",
            endpoint_url=f"http://localhost:{self.store_port}",
            aws_access_key_id=CANARIES["STORE_ACCESS_KEY"],
            aws_secret_access_key=CANARIES["STORE_SECRET_KEY"],
            region_name="us-east-1",
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="dogbreed", Prefix=prefix)
        return {o["Key"]: (o["ETag"], o["LastModified"]) for page in pages for o in page.get("Contents", [])}

    def everything(self) -> dict[str, Any]:
        """Return all that a second `up` must not change."""
        runs = {job: [run.info.run_id for run in self.runs(job)] for job in ("preprocess", "train", "evaluate")}
        versions = [version.version for version in self.tracking.search_model_versions("name='dogbreed'")]
        candidate = self.tracking.get_model_version_by_alias("dogbreed", "candidate").version
        return {"objects": self.objects(), "runs": runs, "versions": versions, "candidate": candidate}
