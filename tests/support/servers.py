"""Real servers: for S3 the one that is named, versitygw where it is installed, or moto; and MLflow's."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import tenacity

NAMED = "DOGBREED_TEST_S3_ENDPOINT"
KEY, SECRET = "testing", "testing-secret"


@contextmanager
def s3_server(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the server's name and the AWS_* variables that lead to it; it ends with the block."""
    if endpoint := os.environ.get(NAMED):
        yield endpoint, aws_variables(endpoint)
        return
    port = free_port()
    name, command = _command(port, folder)
    credentials = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    environment = {**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_until_it_listens(port)
            yield name, {**aws_variables(f"http://127.0.0.1:{port}"), **credentials}
        finally:
            server.kill()


def aws_variables(endpoint: str) -> dict[str, str]:
    """Return the variables for a job to use this server, with the credentials of this process."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given = {name: os.environ[name] for name in names if name in os.environ}
    region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    return {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_DEFAULT_REGION": region, **given}


def _command(port: int, folder: Path) -> tuple[str, list[str]]:
    versitygw = shutil.which("versitygw", path=f"{os.environ.get('PATH', '')}:{Path.home() / 'go' / 'bin'}")
    if versitygw is None:
        return "moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    (folder / "versitygw").mkdir()
    return "versitygw", [versitygw, "--port", f"127.0.0.1:{port}", "posix", str(folder / "versitygw")]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@tenacity.retry(wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(30), reraise=True)
def _wait_until_it_listens(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


@contextmanager
def mlflow_server(home: Path) -> Iterator[str]:
    """Yield the address of an MLflow server that keeps mlflow.db and its artifacts in `home`."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    storage = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # the latter: two cores
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, *storage], stdout=log, stderr=log, env={**os.environ, **quiet}, cwd=home, start_new_session=True
        )
    try:
        _wait_until_it_is_healthy(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the server's own workers too
        server.wait()


@tenacity.retry(wait=tenacity.wait_fixed(0.5), stop=tenacity.stop_after_delay(300), reraise=True)
def _wait_until_it_is_healthy(address: str, server: subprocess.Popen[bytes]) -> None:
    assert server.poll() is None, "the MLflow server ended"
    requests.get(f"{address}/health", timeout=5).raise_for_status()
