"""`make submit`, as a test calls it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.kubernetes.manifests import ROOT, Object


def run(command: str, kubeconfig: Path | str = "/dev/null", **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of k8s/submit.py as the Makefile does: with the settings in the environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(Path(kubeconfig).parent), "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(
        [sys.executable, "k8s/submit.py", command],
        cwd=ROOT,
        env={**environment, "LOOK_EVERY": "0.3", **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def rendered(**settings: str) -> Object:
    done = run("submit", DRY_RUN="1", **settings)
    assert done.returncode == 0, done.stderr
    found: Object = yaml.safe_load(done.stdout)
    return found


def make(target: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run `make` as a user does, in the cluster of KUBECONFIG."""
    words = [f"{name}={value}" for name, value in settings.items()]
    return subprocess.run(["make", target, *words], cwd=ROOT, capture_output=True, text=True, check=False)
