"""What an MLflow server or database answers, and does not, as the suite's errors."""

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
CONTRADICTED = {ErrorCode.Name(INVALID_STATE)}
REFUSED = {ErrorCode.Name(code) for code in (PERMISSION_DENIED, UNAUTHENTICATED)}
ANSWER_WITHIN = 5  # seconds

log = logging.getLogger(__name__)


def ping() -> None:
    """Raise ServiceUnavailable when the server does not answer within 5 seconds, or the database not at all."""
    uri = mlflow.get_tracking_uri()
    try:
        if uri.startswith("http"):
            requests.get(f"{uri}/health", timeout=ANSWER_WITHIN).raise_for_status()
        else:
            mlflow.search_experiments(max_results=1)
    except Exception as error:  # SQLAlchemy's are raised as they are, and jobs run without SQLAlchemy
        raise ServiceUnavailable(f"MLflow at {uri} does not answer ({error}); check MLFLOW_TRACKING_URI") from error


@contextmanager
def translate() -> Iterator[None]:
    """Turn the errors of an MLflow server that was reached into the suite's: refused, contradicted or lost."""
    try:
        yield
    except ERRORS as error:
        said, code = f"MLflow at {mlflow.get_tracking_uri()}: {error}", getattr(error, "error_code", None)
        if code in REFUSED:
            raise PermissionDenied(f"{said}; check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") from error
        if code in (*ABSENT, *CONTRADICTED):
            raise DataError(f"{said}; restore what was deleted or choose another server") from error
        raise RetryableError(f"{said}; run the same command again") from error


@contextmanager
def warn_on_failure(path: str) -> Iterator[None]:
    """A picture that is lost is no reason to lose a training, whatever the artifact store raises."""
    try:
        yield
    except Exception as error:
        log.warning("MLflow did not take %s: %s", path, error)


@contextmanager
def require_model(uri: str) -> Iterator[None]:
    """Raise UsageError where MLflow answers that there is no such model."""
    try:
        yield
    except (MlflowException, OSError) as error:
        code, number = getattr(error, "error_code", None), getattr(error, "errno", None)
        if (isinstance(error, ERRORS) and code not in ABSENT) or number not in (None, ENOENT, ENOTDIR):
            raise
        raise UsageError(f"no model at {uri} ({error}); train one with jobs.train or name another") from error
