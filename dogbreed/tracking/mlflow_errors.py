"""Errors of an MLflow server or database as the suite's own, each with its exit code."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT, ENOTDIR

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

from dogbreed.core.errors import DataError, PermissionDenied, RetryableError, ServiceUnavailable, UsageError

ERRORS = (MlflowException, requests.RequestException)
ABSENT = {ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)}
CONFLICT = {ErrorCode.Name(INVALID_STATE)}
FORBIDDEN = {ErrorCode.Name(code) for code in (PERMISSION_DENIED, UNAUTHENTICATED)}
TIMEOUT = 5  # seconds

log = logging.getLogger(__name__)


def ping() -> None:
    """Raise ServiceUnavailable unless the server responds within 5 seconds, or the database can be opened."""
    uri = mlflow.get_tracking_uri()
    try:
        if uri.startswith("http"):
            requests.get(f"{uri}/health", timeout=TIMEOUT).raise_for_status()
        else:
            mlflow.search_experiments(max_results=1)
    except Exception as error:  # SQLAlchemy's are raised as they are, and jobs run without SQLAlchemy
        raise ServiceUnavailable(f"MLflow at {uri} does not respond ({error}); check MLFLOW_TRACKING_URI") from error


@contextmanager
def translate() -> Iterator[None]:
    """Raise MLflow's errors as PermissionDenied, DataError (deleted or conflicting) or, otherwise, RetryableError."""
    try:
        yield
    except ERRORS as error:
        message = f"MLflow at {mlflow.get_tracking_uri()}: {error}"
        code = getattr(error, "error_code", None)
        if code in FORBIDDEN:
            raise PermissionDenied(f"{message}; check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") from error
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
        raise UsageError(f"no model at {uri} ({error}); train one with jobs.train or name another") from error
