"""`mlflow models serve` in an environment of the model's own requirements, without this repository: long, pip installs.

Every image has a prediction, and no request stops the server.
"""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
import tenacity

from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives
from dogbreed.tracking import promotion
from tests.support.encoded_images import claims_to_be, encoded, upper_white
from tests.support.registry import evaluate, register
from tests.support.servers import free_port, mlflow_server
from tests.support.small_model import small_model

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # TensorFlow alone is a download of 600 MB

CHAMPION = "models:/dogbreed@champion"
REAL = Path(__file__).parents[3] / "shared" / "stanford-dogs-small" / "images.tar"
JSON = "application/json"


def text(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def first_image() -> bytes:
    """Return the first real image if the archive is there, otherwise a synthetic one."""
    archive = REAL.open("rb") if REAL.exists() else io.BytesIO(draw_archives(SyntheticConfig(1, 5))["images.tar"])
    with archive, tarfile.open(fileobj=archive) as tar:
        member = next(member for member in tar if member.name.endswith(".jpg"))
        file = tar.extractfile(member)
        assert file is not None
        return file.read()


@pytest.fixture(scope="module")
def tracking(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with a champion."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        version = register(dataset, small_model())
        promotion.promote(evaluate(version, "A", hits=50), lambda: 0.5, force=False)
        yield address


@pytest.fixture(scope="module")
def environment(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with what the model says that it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("serving")
    needed = mlflow.artifacts.download_artifacts(f"{CHAMPION}/requirements.txt", dst_path=str(folder))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", needed], check=True)
    return folder


@pytest.fixture(scope="module")
def server(tracking: str, environment: Path) -> Iterator[str]:
    """The address of the served model."""
    port, bin = free_port(), environment / "venv" / "bin"
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = f"{bin}:{os.environ['PATH']}"
    own = {**inherited, "MLFLOW_TRACKING_URI": tracking, "PATH": path, "KERAS_BACKEND": "torch"}  # not installed
    missing = subprocess.run([bin / "python", "-c", "import dogbreed"], cwd=environment, env=own, capture_output=True)
    assert b"No module named 'dogbreed'" in missing.stderr
    command = [bin / "mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local", "-p", str(port)]
    with (environment / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=environment, env=own, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, environment / "log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # uvicorn too
        process.wait()


@tenacity.retry(wait=tenacity.wait_fixed(1), stop=tenacity.stop_after_delay(300), reraise=True)
def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.poll() is None, log.read_text()
    requests.get(f"{address}/ping", timeout=5).raise_for_status()


def send(server: str, body: bytes | str, kind: str = JSON) -> requests.Response:
    return requests.post(f"{server}/invocations", data=body, headers={"Content-Type": kind}, timeout=120)


def rows(server: str, *images: Any) -> list[dict[str, Any]]:
    reply = send(server, json.dumps({"dataframe_split": {"columns": ["image"], "data": [[image] for image in images]}}))
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = json.loads(reply.text, parse_constant=_refuse)["predictions"]
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def test_the_response_has_class_and_top_five(server: str) -> None:
    (row,) = rows(server, text(first_image()))
    assert row["error"] is None
    assert row["top5"][0] == {"class": row["class"], "probability": row["probability"]}
    assert sum(best["probability"] for best in row["top5"]) == pytest.approx(1, abs=1e-5)


def test_curl_gets_the_same_response(server: str, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"inputs": {"image": [text(first_image())]}}))
    curl = ["curl", "--silent", "--fail", "-H", f"Content-Type: {JSON}", "-d", f"@{request}", f"{server}/invocations"]
    done = subprocess.run(curl, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predictions"] == rows(server, text(first_image()))


GOOD = encoded(upper_white())
IN_A_ROW: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a list": [1, [2, [3]]],
    "an object": {"image": "x"},
    "nothing": "",
    "no base64": "no base64!",
    "a path": "file:///etc/passwd",
    "base64 of text": text(b"no photo"),
    "half a photo": text(GOOD[: len(GOOD) // 2]),
    "a GIF": text(encoded(upper_white(), kind="GIF")),
    "too many pixels": text(claims_to_be(9_000, 9_000)),
    "a bomb of pixels": text(claims_to_be(60_000, 60_000)),
    "20 MB of zeros": text(bytes(20 << 20)),
}
REFUSED: dict[str, tuple[bytes | str, str]] = {
    "an empty body": ("", JSON),
    "no JSON": ("{", JSON),
    "no UTF-8": (b'{"inputs": "\xff"}', JSON),
    "a list": ("[1, 2]", JSON),
    "another column": ('{"dataframe_split": {"columns": ["picture"], "data": [["x"]]}}', JSON),
    "no column": ('{"dataframe_split": {"columns": [], "data": []}}', JSON),
    "rows of several lengths": ('{"dataframe_split": {"columns": ["image"], "data": [["x"], ["x", "y"]]}}', JSON),
    "brackets without end": ("[" * 200_000, JSON),
    "another kind of content": (GOOD, "image/jpeg"),
    "two formats at once": ('{"inputs": ["x"], "instances": ["x"]}', JSON),
}


def test_there_are_twenty_hostile_inputs() -> None:
    assert len(IN_A_ROW) + len(REFUSED) >= 20


@pytest.mark.parametrize("name", IN_A_ROW)
def test_a_hostile_image_is_an_error_in_its_row_and_its_neighbours_have_predictions(name: str, server: str) -> None:
    before, hostile, after = rows(server, text(GOOD), IN_A_ROW[name], text(GOOD))
    assert before == after
    assert before["error"] is None
    assert hostile["error"]
    assert (hostile["class"], hostile["probability"], hostile["top5"]) == (None, None, [])


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_request_is_refused_and_the_next_one_succeeds(name: str, server: str) -> None:
    reply = send(server, *REFUSED[name])
    assert 400 <= reply.status_code < 600
    (row,) = rows(server, text(GOOD))
    assert row["error"] is None
