"""MLflow is reached as its own client reaches it: with a login, a token, a private CA, and without /health."""

import logging
import os
import shutil
import sqlite3
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow.entities import Dataset, DatasetInput

from dogbreed.core.errors import EnvironmentUnsupported, PermissionDenied, ServiceUnavailable, UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.tracking import mlflow_errors, registry, runs
from dogbreed.tracking.mlflow_errors import ping
from dogbreed.tracking.resumable_run import Description, ResumableRun
from dogbreed.workflows import preflight
from tests.support.faults.proxy import Rule, proxy
from tests.support.mlflow_gateway import (
    BASIC,
    BEARER,
    EMPTY_SERVER,
    NO_HEALTH,
    SECRET,
    USER,
    answer,
    private_ca,
    require,
)

LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": SECRET}
WRONG_LOGIN = {**LOGIN, "MLFLOW_TRACKING_PASSWORD": "guess"}
TOKEN = {"MLFLOW_TRACKING_TOKEN": SECRET}
TRAINING = Description(
    "dogbreed", "key", "content", "simple-key", {}, {}, DatasetInput(Dataset("dogs", "0", "local", "{}")), False
)


def set_variables(monkeypatch: pytest.MonkeyPatch, uri: str, **variables: str) -> None:
    for name in (*LOGIN, *TOKEN, "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"MLFLOW_TRACKING_URI": uri, **variables}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with proxy("http://127.0.0.1:9", [EMPTY_SERVER]) as (address, _):
        yield address


@pytest.mark.parametrize(
    ("rule", "variables"),
    [(require(BASIC), LOGIN), (require(BEARER), TOKEN), (NO_HEALTH, {})],
    ids=["login", "token", "no /health"],
)
def test_a_server_is_reached_with_what_the_client_is_given(
    rule: Rule, variables: dict[str, str], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server, [rule]) as (address, _):
        set_variables(monkeypatch, address, **variables)
        ping()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return private_ca(tmp_path_factory.mktemp("tls"))


def test_a_private_ca_is_trusted_when_it_is_named(
    server: str, authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, context = authority
    with proxy(server, [], context) as (address, _):
        set_variables(monkeypatch, address, MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate))
        ping()
        set_variables(monkeypatch, address)
        with pytest.raises(ServiceUnavailable, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
            ping()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_is_not_verified_when_that_is_asked_for(
    server: str, authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server, [], authority[1]) as (address, _):
        set_variables(monkeypatch, address, MLFLOW_TRACKING_INSECURE_TLS="true")
        ping()


REFUSALS = {
    "no login": (require(BASIC), {}),
    "a wrong password": (require(BASIC), WRONG_LOGIN),
    "a wrong token": (require(BEARER), {"MLFLOW_TRACKING_TOKEN": "guess"}),
    "JSON of a gateway": (Rule(answer(403, b'{"message": "Forbidden"}')), TOKEN),
}


@pytest.mark.parametrize(("rule", "variables"), REFUSALS.values(), ids=REFUSALS)
def test_refused_credentials_are_a_missing_permission_wherever_mlflow_is_needed(
    rule: Rule, variables: dict[str, str], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server, [rule]) as (address, _):
        set_variables(monkeypatch, address, **variables)
        start = time.monotonic()
        with pytest.raises(PermissionDenied, match=f"MLflow at {address}.*MLFLOW_TRACKING_PASSWORD"):
            registry.resolve("models:/dogbreed@candidate")
        with pytest.raises(PermissionDenied), runs.start_run("dogbreed", "evaluate", "name", {}, {}):
            pytest.fail("a run was opened")
        with pytest.raises(PermissionDenied), ResumableRun(TRAINING):
            pytest.fail("a training was started that could never be delivered")
        assert time.monotonic() - start < 5


def test_refused_credentials_are_a_warning_where_mlflow_is_optional(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with proxy(server, [require(BASIC)]) as (address, door):
        set_variables(monkeypatch, address, **WRONG_LOGIN)
        with caplog.at_level(logging.WARNING):
            preflight.before_job(LocalStore(tmp_path))
        assert sum(door.matched.values()) == 1, "a refusal is final"
    assert "refuses the request (401 who are you)" in caplog.text


def test_a_refused_artifact_is_a_missing_permission() -> None:
    refused = requests.Response()
    refused.status_code = 401
    with pytest.raises(PermissionDenied), mlflow_errors.translate():
        refused.raise_for_status()


def test_a_page_that_is_not_mlflow_s_is_not_taken_for_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(server, [Rule(answer(200, b"<html>please log in</html>"))]) as (address, _):
        set_variables(monkeypatch, address)
        with pytest.raises(ServiceUnavailable, match="please log in"):
            ping()


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database in a folder that may be read and not written, also by root, who becomes nobody."""
    with tempfile.TemporaryDirectory() as name:  # tmp_path is root's alone
        folder, scratch = Path(name) / "folder", Path(name) / "scratch"
        folder.mkdir()
        scratch.mkdir()
        shutil.copy(tmp_path / "mlflow.db", folder)
        for path, mode in ((folder / "mlflow.db", 0o444), (folder, 0o555), (scratch, 0o777), (Path(name), 0o755)):
            path.chmod(mode)
        monkeypatch.chdir(scratch)
        user = os.geteuid()
        os.seteuid(user or 65534)
        yield folder / "mlflow.db"
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["read-only", "below a file", "on a file system without files"])
def test_a_database_that_cannot_be_written_is_found_at_once(
    kind: str, read_only: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = {"read-only": read_only, "below a file": read_only / "mlflow.db"}.get(kind, Path("/proc/mlflow.db"))
    set_variables(monkeypatch, f"sqlite:///{database}")
    start = time.monotonic()
    with pytest.raises(EnvironmentUnsupported, match=f"{database} cannot be written.*MLFLOW_TRACKING_URI") as error:
        ping()
    assert error.value.exit_code == 78
    with pytest.raises(EnvironmentUnsupported), ResumableRun(TRAINING):
        pytest.fail("a training was started that could never be delivered")
    preflight.before_job(LocalStore(Path()))
    assert "cannot be written" in caplog.text
    assert time.monotonic() - start < 5


def test_the_check_of_the_database_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "mlflow.db"  # the copied one
    before = database.read_bytes()
    set_variables(monkeypatch, f"sqlite:///{database}")
    ping()
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_working_directory_with_blanks_holds_the_database_and_its_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b%20é"
    folder.mkdir()
    shutil.move(tmp_path / "mlflow.db", folder)
    set_variables(monkeypatch, "")
    monkeypatch.chdir(folder)
    assert "artifact" in runs.check_round_trip("dogbreed")
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "artifacts"}
    elsewhere = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert elsewhere == [], "nothing is written to a folder with an encoded name"


def test_a_database_that_another_process_writes_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_errors, "TIMEOUT", 0.1)
    set_variables(monkeypatch, f"sqlite:///{tmp_path}/mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        ping()
        writer.execute("ROLLBACK")


def test_a_database_that_can_only_be_read_is_enough_for_a_job_that_writes_no_run(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_variables(monkeypatch, f"sqlite:///{read_only}")
    with pytest.raises(UsageError, match="no model"):
        registry.resolve("models:/dogbreed@candidate")


def test_without_a_server_an_unwritable_working_directory_is_a_warning_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_variables(monkeypatch, "")
    monkeypatch.chdir("/proc")
    start = time.monotonic()
    preflight.before_job(LocalStore(tmp_path))
    assert "MLflow's database /proc/mlflow.db cannot be written" in caplog.text
    assert "set MLFLOW_TRACKING_URI" in caplog.text
    assert time.monotonic() - start < 5
