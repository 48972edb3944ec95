"""A port of a Service of the cluster on this machine, and MLflow behind it."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow

from tests.support.e2e.cluster import NAMESPACE
from tests.support.kubernetes.manifests import KUBECTL, ROOT


@contextmanager
def forwarded(service: str, port: int) -> Iterator[int]:
    """Yield the local port, chosen by kubectl, behind which a Service's port is."""
    command = [KUBECTL, "--namespace", NAMESPACE, "port-forward", service, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found, f"{' '.join(command)}: {line}"
            yield int(found[1])
        finally:
            process.terminate()


@contextmanager
def tracking() -> Iterator[mlflow.MlflowClient]:
    """Yield MLflow's API as the administrator; the port leads to one pod, and closes with it."""
    lines = (ROOT / "k8s" / "base" / "mlflow.secret").read_text().splitlines()
    os.environ.update(line.split("=", 1) for line in lines)
    with forwarded("service/mlflow", 5000) as port:
        yield mlflow.MlflowClient(f"http://localhost:{port}")
