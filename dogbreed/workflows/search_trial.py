"""One trial of jobs.search: an ordinary training with checkpoints and a run of its own, whose model is not kept."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from dogbreed.core.lease import Lease
from dogbreed.core.storage import Store
from dogbreed.tracking import training_outputs
from dogbreed.tracking.resumable_run import ResumableRun
from dogbreed.tracking.runs import PARENT_RUN, MlflowRun, Run
from dogbreed.training import trainer
from dogbreed.training.checkpoint import CheckpointManager
from dogbreed.training.checkpointer import AsyncCheckpointer
from dogbreed.training.progress import TrainingStopped
from dogbreed.training.state import MONITOR
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import train
from dogbreed.workflows.train_job import TrainJob

EXPERIMENT = "search"  # <prefix>/search: studies, and their trials

Report = Callable[[int, float], None]  # of an epoch, from 1, and its validation score; raises TrainingStopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialKey:
    """What names a trial: its job key, and the MLflow run of its study."""

    key: str
    parent_run: str


def train_trial(job: TrainJob, trial: TrialKey, seed: int, store: Store, lease: Lease, report: Report) -> MlflowRun:
    """Train, from the last checkpoint if there is one, and return the finished run.

    Args:
        store: of the trial's checkpoints; `lease` is the acquired lease on it.
        report: is called after each epoch.

    Raises:
        TrainingStopped: by `report`; the run is KILLED, the checkpoints are deleted.
    """
    fingerprint = job.fingerprint(seed)
    keras.utils.clear_session()  # of the previous trial
    described = train.describe(job, seed, fingerprint, trial.key)
    tags = {**described.tags, PARENT_RUN: trial.parent_run}
    run = ResumableRun(dataclasses.replace(described, tags=tags, name=trial.key, job=EXPERIMENT))
    checkpoints = CheckpointManager(store, fingerprint, lease.number)
    try:
        with run:
            done = run.done or _train(
                job, seed, run, checkpoints, AsyncCheckpointer(checkpoints, job.interval, lease), report
            )
    except TrainingStopped:
        checkpoints.delete_all()
        raise
    checkpoints.delete_all()
    return done


def _train(
    job: TrainJob,
    seed: int,
    run: ResumableRun,
    checkpoints: CheckpointManager,
    checkpointer: AsyncCheckpointer,
    report: Report,
) -> MlflowRun:
    trained = trainer.train(
        job.recipe,
        job.manifest,
        job.pipeline(),
        seed,
        logger=_ReportingLogger(run, report),
        init_weights=job.init_weights,
        checkpointer=checkpointer,
        restored=checkpoints.restore_latest(),
        log_every=job.log_every,
    )
    return run.finish(lambda finished: _log_outputs(finished, trained))


def _log_outputs(run: Run, trained: TrainResult) -> None:
    training_outputs.log_history(run, trained)
    best = {f"best_{name}": value for name, value in trained.best.items() if name.startswith("val_")}
    run.log_metrics(0, best)


class _ReportingLogger:
    """A MetricLogger that passes everything on to a run, and the validation score of each epoch to the search."""

    def __init__(self, run: ResumableRun, report: Report) -> None:
        self._run, self._report = run, report
        self.state, self.restore = run.state, run.restore

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values; TrainingStopped where the search ends the trial."""
        self._run.log_metrics(step, values)
        if MONITOR in values:
            self._report(step, values[MONITOR])
