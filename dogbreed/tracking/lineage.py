"""The training that a model came from, as MLflow remembers it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from dogbreed.tracking.mlflow_errors import ERRORS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingLineage:
    """A training's run: what it was, what it took, and its picture of the learning curves (PNG), if there is one."""

    run_id: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    curves: bytes | None

    @property
    def weights(self) -> str:
        """What the model began with; "none" for random weights."""
        return self.params.get("weights", "none")


def load(model: Path, scratch: Path) -> TrainingLineage | None:
    """Return the training of a downloaded model; None where the model names none or this server has none."""
    try:
        run_id = Model.load(str(model)).run_id
        run = mlflow.get_run(run_id) if run_id else None
    except (MlflowException, OSError) as error:
        log.warning("the training behind the model is not in this MLflow, the report leaves it out: %s", error)
        return None
    if run is None:
        return None
    return TrainingLineage(
        run_id, dict(run.data.params), dict(run.data.metrics), dict(run.data.tags), _curves(run_id, scratch)
    )


def _curves(run_id: str, scratch: Path) -> bytes | None:
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="pictures/learning_curves.png", dst_path=str(scratch)
        )
    except (*ERRORS, OSError) as error:
        log.warning("the training behind the model has no learning curves: %s", error)
        return None
    return Path(path).read_bytes()
