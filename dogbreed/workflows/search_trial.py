"""One trial of jobs.search: an ordinary training with checkpoints and a run of its own, whose model is not kept."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from dogbreed.core.errors import CorruptData, DataError, EnvironmentUnsupported, NotFound
from dogbreed.core.lease import Lease
from dogbreed.core.storage import Store
from dogbreed.tracking import training_outputs
from dogbreed.tracking.resumable_run import ResumableRun
from dogbreed.tracking.runs import PARENT_RUN, MlflowRun, Run
from dogbreed.tracking.training_outputs import BEST_TOP1
from dogbreed.training import trainer
from dogbreed.training.checkpoint import CheckpointManager, Snapshot
from dogbreed.training.checkpointer import AsyncCheckpointer
from dogbreed.training.progress import TrainingStopped
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import MONITOR
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import train
from dogbreed.workflows.train_job import TrainJob

EXPERIMENT = "search"  # <prefix>/search: studies, and their trials

Report = Callable[[int, float], None]  # of an epoch, from 1, and its validation score; raises TrainingStopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialKey:
    """What names a trial: its job key, the name of its MLflow run, and the run of its study."""

    key: str  # with a slash, which no other job's name has
    name: str
    parent_run: str


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: complete, pruned, or failed."""

    score: float | None  # of a complete one: its best validation score, 0 to 1
    reason: str  # why it is not complete
    hours: float  # of cores, or of GPUs, by all processes that trained it
    error: DataError | EnvironmentUnsupported | None = None  # of a failed one

    def __str__(self) -> str:
        if self.score is not None:
            return f"val_top1 {100 * self.score:.1f} %"
        return f"{'failed' if self.error else 'pruned'}: {self.reason}"


def train_trial(job: TrainJob, trial: TrialKey, seed: int, store: Store, lease: Lease, report: Report) -> Outcome:
    """Train, from the last checkpoint if there is one, and return how the training ended; its run is ended too.

    Args:
        store: of the trial's checkpoints; `lease` is the acquired lease on it.
        report: is called after each epoch.

    Raises:
        NotFound, CorruptData: of the dataset, which is no fault of the trial.
    """
    fingerprint = job.fingerprint(seed)
    keras.utils.clear_session()  # of the previous trial
    described = train.describe(job, seed, fingerprint, trial.key)
    tags = {**described.tags, PARENT_RUN: trial.parent_run}
    run = ResumableRun(dataclasses.replace(described, tags=tags, name=trial.name, job=EXPERIMENT))
    checkpoints = CheckpointManager(store, fingerprint, lease.number)
    restored = checkpoints.restore_latest()
    usage = ResourceUsage(restored.state.resource_usage if restored else {}, job.distribution.gpus)
    try:
        with run:
            checkpointer = AsyncCheckpointer(checkpoints, job.interval, lease)
            done = run.done or _train(job, seed, run, restored, checkpointer, report)
        outcome = Outcome(done.data.metrics[BEST_TOP1], "", _hours(done.data.metrics))
    except TrainingStopped as stopped:
        outcome = Outcome(None, str(stopped), _hours(usage.read()))
    except (NotFound, CorruptData):
        raise
    except (DataError, EnvironmentUnsupported) as error:
        outcome = Outcome(None, str(error), _hours(usage.read()), error)
    checkpoints.delete_all()
    return outcome


def _hours(used: Mapping[str, float]) -> float:
    return used.get("gpu_hours", used["cpu_hours"])


def _train(
    job: TrainJob,
    seed: int,
    run: ResumableRun,
    restored: Snapshot | None,
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
        restored=restored,
        log_every=job.log_every,
        teacher=job.teacher,
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
