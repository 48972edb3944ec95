"""The training run that a model came from."""

import logging
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from dogbreed.evaluation.result import TrainingLineage
from dogbreed.tracking.mlflow_errors import ERRORS

log = logging.getLogger(__name__)


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
