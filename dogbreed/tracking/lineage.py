"""The training run that a model came from."""

import logging
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from dogbreed.evaluation.result import TrainingLineage
from dogbreed.tracking.mlflow_errors import ERRORS
from dogbreed.tracking.runs import TRAINING_RUN

log = logging.getLogger(__name__)


def tags(model: Path) -> dict[str, str]:
    """Return the tag of an evaluation that tells which training its downloaded model came from, if the model does."""
    run_id = Model.load(str(model)).run_id if (model / MLMODEL_FILE_NAME).exists() else None
    return {TRAINING_RUN: run_id} if run_id else {}


def load(model: Path, scratch: Path) -> TrainingLineage | None:
    """Return the training of a downloaded model; None if the model names none or this MLflow does not have it."""
    try:
        run_id = Model.load(str(model)).run_id
        run = mlflow.get_run(run_id) if run_id else None
    except (MlflowException, OSError) as error:
        log.warning("the model's training run is not in this MLflow, the report omits it: %s", error)
        return None
    if run is None:
        return None
    return TrainingLineage(
        run_id, dict(run.data.params), dict(run.data.metrics), dict(run.data.tags), _learning_curves(run_id, scratch)
    )


def _learning_curves(run_id: str, scratch: Path) -> bytes | None:
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="figures/learning_curves.png", dst_path=str(scratch)
        )
    except (*ERRORS, OSError) as error:
        log.warning("the model's training run has no learning curves: %s", error)
        return None
    return Path(path).read_bytes()
