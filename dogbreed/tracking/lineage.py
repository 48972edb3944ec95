"""The training run that a model came from, and what the teacher of a model had seen."""

import logging
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from dogbreed.evaluation.result import TrainingLineage
from dogbreed.tracking.mlflow_errors import ERRORS
from dogbreed.tracking.runs import TRAINING_RUN, MlflowRun

TEACHER = "dogbreed.teacher"  # tags of a training with one: the URI of the teacher
TEACHER_SHA256 = "dogbreed.teacher_sha256"  # of its model and metadata
TEACHER_DATASET = "dogbreed.teacher_dataset"  # the digest of what it was trained on
TEACHER_RUN = "dogbreed.teacher_run"  # its training, where this MLflow has it
TEACHER_WEIGHTS = "dogbreed.teacher_weights"  # those that it began with, likewise
TEACHERS_TEACHER = "dogbreed.teachers_teacher"  # the one that it had itself, likewise

log = logging.getLogger(__name__)


def tags(model: Path) -> dict[str, str]:
    """Return the tag of an evaluation that tells which training its downloaded model came from, if the model does."""
    run_id = Model.load(str(model)).run_id if (model / MLMODEL_FILE_NAME).exists() else None
    return {TRAINING_RUN: run_id} if run_id else {}


def load(model: Path, scratch: Path) -> TrainingLineage | None:
    """Return the training of a downloaded model; None if the model names none or this MLflow does not have it."""
    run = _find_run(model, "the model's training run is not in this MLflow, the report omits it")
    if run is None:
        return None
    run_id, data = run.info.run_id, run.data
    return TrainingLineage(
        run_id, dict(data.params), dict(data.metrics), dict(data.tags), _learning_curves(run_id, scratch)
    )


def _find_run(model: Path, otherwise: str) -> MlflowRun | None:
    """Return the training run of a downloaded model; None if the model names none, or, with a warning, has none."""
    try:
        run_id = Model.load(str(model)).run_id
        return mlflow.get_run(run_id) if run_id else None
    except (MlflowException, OSError) as error:
        log.warning("%s: %s", otherwise, error)
        return None


def teacher_tags(uri: str, sha256: str, dataset: str, model: Path) -> dict[str, str]:
    """Return the tags of a training that tell what its teacher, a downloaded model, is and had seen."""
    found = {TEACHER: uri, TEACHER_SHA256: sha256, TEACHER_DATASET: dataset}
    run = _find_run(model, "the teacher's training run is not in this MLflow, model card and leaderboard omit it")
    if run is None:
        return found
    found |= {TEACHER_RUN: run.info.run_id, TEACHER_WEIGHTS: run.data.params.get("weights", "none")}
    own_teacher = run.data.tags.get(TEACHER)
    return found | ({TEACHERS_TEACHER: own_teacher} if own_teacher else {})


def _learning_curves(run_id: str, scratch: Path) -> bytes | None:
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="figures/learning_curves.png", dst_path=str(scratch)
        )
    except (*ERRORS, OSError) as error:
        log.warning("the model's training run has no learning curves: %s", error)
        return None
    return Path(path).read_bytes()
