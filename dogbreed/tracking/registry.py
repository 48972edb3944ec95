"""MLflow's model registry: register a model, resolve its aliases, download a version."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import mlflow
from mlflow.entities import FileInfo, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from dogbreed.core.errors import RetryableError, UsageError
from dogbreed.core.scratch import check_free_scratch
from dogbreed.core.storage import to_path
from dogbreed.tracking.mlflow_errors import ping, require_model, translate

REGISTERED_MODEL = "dogbreed.registered_model"  # tag of a run: the name under which its model is registered
CANDIDATE = "candidate"  # alias of the version that was trained last
CHAMPION = "champion"  # alias of the best version, see dogbreed.tracking.promotion


def register(name: str, log_model: Callable[[], str]) -> int:
    """Log the model to the active run and register it, unless an earlier attempt has; return its version.

    Args:
        name: of the registered model.
        log_model: logs the model to the active run and returns the id of the logged model.

    Raises:
        RetryableError: MLflow or its artifact store did not accept the model.
    """
    try:
        run = cast(mlflow.ActiveRun, mlflow.active_run()).info
        version = _version_of(name, run.run_id)
        if version is None:
            model_id = _logged_model(run) or log_model()
            version = mlflow.register_model(f"models:/{model_id}", name)
        tags = {"dogbreed.model_uri": version.source, "dogbreed.model_version": version.version}
        mlflow.set_tags({**tags, REGISTERED_MODEL: name})
    except Exception as error:  # an artifact store may raise anything, and hours of training are behind this model
        raise RetryableError(f"MLflow did not accept the model: {error}") from error
    return int(version.version)


def _version_of(name: str, run_id: str) -> ModelVersion | None:
    """Return the registered version whose model was logged by a run."""
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return found[0] if found else None


def _logged_model(run: mlflow.entities.RunInfo) -> str | None:
    """Return the id of the complete model that a run has logged; incomplete ones are deleted."""
    client, complete = mlflow.MlflowClient(), None
    found = client.search_logged_models([run.experiment_id], filter_string=f"source_run_id = '{run.run_id}'")
    for model in found:
        if model.status == LoggedModelStatus.READY:
            complete = str(model.model_id)
        else:
            client.delete_logged_model(model.model_id)
    return complete


def set_candidate_alias(name: str, version: int) -> None:
    """Point the alias `candidate` at a version of the registered model."""
    with translate():
        mlflow.MlflowClient().set_registered_model_alias(name, CANDIDATE, str(version))


def version_uri(name: str, version: int) -> str:
    """Return `models:/NAME/VERSION`."""
    return f"models:/{name}/{version}"


def parse_version(uri: str) -> tuple[str, int] | None:
    """Return NAME and VERSION of `models:/NAME/VERSION`, None for any other URI."""
    match = re.fullmatch(r"models:/([^/@]+)/(\d+)", uri)
    return (match[1], int(match[2])) if match else None


def is_tracked(uri: str) -> bool:
    """Return whether MLflow has the model; any other URI is a folder."""
    return re.match(r"(models|runs):/", uri) is not None


def resolve(uri: str) -> str:
    """Return `models:/NAME@ALIAS` as `models:/NAME/VERSION`, and any other URI unchanged.

    Raises:
        ServiceUnavailable: MLflow is needed and does not respond.
        UsageError: there is no such model or alias.
    """
    if is_tracked(uri):
        ping(write=False)
    match = re.fullmatch(r"models:/(?P<name>[^/@]+)@(?P<alias>[^/@]+)", uri)
    if match is None:
        return uri
    name, alias = match["name"], match["alias"]
    try:
        with translate(), require_model(uri):
            return version_uri(name, _version_of_alias(name, alias))
    except UsageError as error:
        candidate = _candidate(name) if alias != CANDIDATE else None
        if candidate is None:
            raise
        own = f"models:/{name}@{CANDIDATE}"
        raise UsageError(
            f"no model at {uri}: {name} has no alias {alias}, its candidate is version {candidate}; name {own}, "
            f"or make it models:/{name}@{CHAMPION} with jobs.evaluate --data DATASET --model {own} --promote"
        ) from error


def _version_of_alias(name: str, alias: str) -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)


def _candidate(name: str) -> int | None:
    """Return the version that is candidate of a registered model, None if there is none."""
    try:
        return _version_of_alias(name, CANDIDATE)
    except MlflowException:
        return None


def download(uri: str, folder: Path) -> Path:
    """Return the folder of a model at a path, or download one from models:/... or runs:/... into `folder`.

    Raises:
        UsageError: there is no such model.
        EnvironmentUnsupported: the scratch folder may not hold it.
    """
    if uri.startswith("file:") or ":/" not in uri:  # to MLflow, # and ? in a folder's name would end it
        path = to_path(uri)
        if path is None or not path.is_dir():
            raise UsageError(f"no model at {uri}; train one with jobs.train or name another")
        return path
    with translate(), require_model(uri):
        files = _list_files(uri)
        check_free_scratch(sum(file.file_size or 0 for file in files), f"the files of {uri}", folder)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def _list_files(uri: str) -> list[FileInfo]:
    """Return the files of a model in MLflow that are not small: beside them are code and text only."""
    if match := re.fullmatch(r"models:/(m-[0-9a-f]{32})", uri):  # list_artifacts takes no folder of such a URI
        return mlflow.MlflowClient().list_logged_model_artifacts(match[1], "artifacts")
    return mlflow.artifacts.list_artifacts(artifact_uri=f"{uri}/artifacts")
