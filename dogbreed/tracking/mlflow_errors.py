"""Errors of an MLflow server or database as the suite's own, each with its exit code."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from errno import ENOENT, ENOTDIR
from pathlib import Path
from urllib.parse import unquote

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    UNAUTHENTICATED,
    ErrorCode,
)
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from dogbreed.core.errors import (
    DataError,
    EnvironmentUnsupported,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    UsageError,
)

ERRORS = (MlflowException, requests.RequestException)
ABSENT = {ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)}
CONFLICT = {ErrorCode.Name(INVALID_STATE)}
FORBIDDEN = {ErrorCode.Name(code) for code in (PERMISSION_DENIED, UNAUTHENTICATED)}
DENIED_STATUS = {401, 403}
TIMEOUT = 5  # seconds
SEARCH = "/api/2.0/mlflow/experiments/search"  # every server has it; /health is missing behind some gateways
SQLITE = "sqlite:///"
CREDENTIALS = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"

log = logging.getLogger(__name__)


def database_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI, None for another URI or a database in memory.

    MLflow's default URI has a working directory with blanks percent-encoded, and SQLAlchemy decodes every path.
    """
    name = unquote(uri.removeprefix(SQLITE).partition("?")[0])
    return Path(name) if uri.startswith(SQLITE) and name not in ("", ":memory:") else None


def ping(write: bool = True) -> None:
    """Make one request as MLflow's client does, with its credentials and certificates, or open the database.

    write: whether runs will be written; a database that can only be read is enough otherwise.

    Raises:
        PermissionDenied: the server refuses the credentials.
        EnvironmentUnsupported, RetryableError: the SQLite file cannot be written; its disk is full.
        ServiceUnavailable: there is no valid response within 5 seconds, or the database cannot be read.
    """
    uri = mlflow.get_tracking_uri()
    if database := database_path(uri):
        _check_database(database, write)
    try:
        if uri.startswith("http"):
            _ping_server(uri)
        else:
            mlflow.search_experiments(max_results=1)
    except PermissionDenied:
        raise
    except Exception as error:  # SQLAlchemy's are raised as they are, and jobs run without SQLAlchemy
        reason = (str(error) or repr(error)).splitlines()[0]  # the SQL follows
        if database and "already exists" in reason:
            raise EnvironmentUnsupported(
                f"{database} is incomplete ({reason}): a job was killed while MLflow made its tables; delete the file"
            ) from error
        tls = ", and MLFLOW_TRACKING_SERVER_CERT_PATH if its CA is your own" if uri.startswith("https") else ""
        raise ServiceUnavailable(
            f"MLflow at {uri} does not respond ({reason}); check MLFLOW_TRACKING_URI{tls}"
        ) from error


def _ping_server(uri: str) -> None:
    """Search for one experiment, without retries; MlflowException for anything but a valid response."""
    credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    response = http_request(  # type: ignore[no-untyped-call]
        credentials, SEARCH, "POST", max_retries=0, timeout=TIMEOUT, json={"max_results": 1}
    )
    if response.status_code in DENIED_STATUS:
        reason = f"{response.status_code} {' '.join(response.text.split())[:200]}"
        raise PermissionDenied(f"MLflow at {uri} refuses the request ({reason}); {CREDENTIALS}")
    verify_rest_response(response, SEARCH)


def _check_database(path: Path, write: bool) -> None:
    """Raise an error at once for a database that MLflow would try to open for minutes, or could not write."""
    if not write and os.access(path, os.R_OK):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # as MLflow does
        with closing(sqlite3.connect(path, timeout=TIMEOUT, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE dogbreed_probe (x)")  # opens the journal beside the file
            database.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_BUSY:  # another process writes
            return
        if code == sqlite3.SQLITE_FULL:
            raise RetryableError(f"{path}: {error}; free space and run the same command again") from error
        raise EnvironmentUnsupported(
            f"MLflow's database {path} cannot be written ({error}); set MLFLOW_TRACKING_URI to a server, or to "
            f"{SQLITE} and a path in a folder that this user can write"
        ) from error


@contextmanager
def translate() -> Iterator[None]:
    """Raise MLflow's errors as PermissionDenied, DataError (deleted or conflicting) or, otherwise, RetryableError."""
    try:
        yield
    except ERRORS as error:
        message = f"MLflow at {mlflow.get_tracking_uri()}: {error}"
        code = getattr(error, "error_code", None)
        status = getattr(getattr(error, "response", None), "status_code", None)  # artifacts: of requests itself
        if code in FORBIDDEN or status in DENIED_STATUS:
            raise PermissionDenied(f"{message}; {CREDENTIALS}") from error
        if code in (*ABSENT, *CONFLICT):
            raise DataError(f"{message}; restore what was deleted or choose another server") from error
        raise RetryableError(f"{message}; run the same command again") from error


@contextmanager
def warn_on_failure(path: str, reraise: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Log a warning instead of failing when MLflow or its artifact store, which may raise anything, is unavailable.

    path: what is named in the warning: an artifact path or a request.
    reraise: exceptions that are not caught.
    """
    try:
        yield
    except reraise:
        raise
    except Exception as error:
        log.warning("MLflow did not accept %s: %s", path, error)


@contextmanager
def require_model(uri: str) -> Iterator[None]:
    """Raise UsageError if MLflow reports that there is no such model."""
    try:
        yield
    except (MlflowException, OSError) as error:
        code, number = getattr(error, "error_code", None), getattr(error, "errno", None)
        if (isinstance(error, ERRORS) and code not in ABSENT) or number not in (None, ENOENT, ENOTDIR):
            raise
        raise UsageError(
            f"no model at {uri} ({error}); train one with jobs.train or name another (--registered-model)"
        ) from error
