"""jobs.train: train a recipe with one seed, resume after any interruption, register the model."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

from dogbreed.core.errors import (
    DataError,
    EnvironmentUnsupported,
    NotFound,
    RetryableError,
    ServiceUnavailable,
)
from dogbreed.core.lease import Lease
from dogbreed.core.log import configure
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.splits import VALIDATION
from dogbreed.evaluation.predict import predict
from dogbreed.evaluation.predictions import has_boxes
from dogbreed.evaluation.zoom import choose_zoom
from dogbreed.serving import classifier, model_files
from dogbreed.tracking import model_card, registry, runs, training_outputs
from dogbreed.tracking.mlflow_errors import warn_on_failure
from dogbreed.tracking.resumable_run import Description, ResumableRun
from dogbreed.tracking.runs import MlflowRun, Run
from dogbreed.training import trainer
from dogbreed.training.build import resolve_precision
from dogbreed.training.checkpoint import CheckpointId, CheckpointManager, Snapshot
from dogbreed.training.checkpointer import AsyncCheckpointer
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.profiler import StepProfiler
from dogbreed.training.progress import NullLogger
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows.train_job import TrainJob

log = logging.getLogger(__name__)


class TrainSummary(TypedDict):
    """Summary of jobs.train with one seed."""

    run_id: str
    model_uri: str
    registered_model: str
    model_version: int
    val_top1: float  # without a zoom
    test_zoom: float  # with which the model is evaluated and served
    val_top1_zoomed: float  # with that zoom
    epochs: int
    seconds: int
    peak_rss_mb: int
    weights_sha256: str  # of a worker that is not the chief: its own
    optimizer_sha256: str


def train(job: TrainJob, seed: int, name: str | None, candidate: bool = True) -> TrainSummary:
    """Train with one seed, resuming an earlier attempt, and return the summary.

    Every worker calls this with the same job. They join, compare fingerprints, start from the checkpoint that the
    chief (worker 0) has chosen, and train. Only the chief holds the lease, writes checkpoints, logs to MLflow and
    registers the model; the others wait for it at the barrier and summarize its run.

    Args:
        name: the job key; by default the fingerprint.
        candidate: point the alias `candidate` at the model.

    Raises:
        DataError: the job key is finished, and its model is registered under another name.
        RetryableError: another process trains under the same job key, a worker was lost, or MLflow is unavailable at
            the end.
    """
    fingerprint, distribution, is_chief = job.fingerprint(seed), job.distribution, job.distribution.is_chief
    key = name or fingerprint
    configure(f"train {key}")
    hashes: dict[str, str] = {}
    with _open_session(job, seed, key, fingerprint) as session:
        done = session.done
        if done:
            log.info("already trained in run %s; use --restart to train again", done.info.run_id)
        else:
            with distribution.translating_worker_loss():
                distribution.join()
                distribution.assert_same(fingerprint)
                pipeline = job.pipeline()
                profiler = StepProfiler(job.scratch / f"profile-{key}") if job.profile and is_chief else None
                trained = trainer.train(
                    job.recipe,
                    job.manifest,
                    pipeline,
                    seed,
                    logger=session.run or NullLogger(),
                    init_weights=job.init_weights,
                    checkpointer=session.checkpointer,
                    restored=_restore_same(distribution, session.checkpoints),
                    distribution=distribution,
                    log_every=job.log_every,
                    profiler=profiler,
                    teacher=job.teacher,
                )
                if session.run and session.checkpointer:
                    done = _log_and_register(job, trained, pipeline, session.run, session.checkpointer, profiler)
                distribution.barrier()
            if not is_chief:
                hashes = {"weights_sha256": trained.weights_sha256, "optimizer_sha256": trained.optimizer_sha256}
        if is_chief:
            session.checkpoints.delete_all()  # all is in MLflow
    summary = _summarize(done or _require_finished(job.experiment_prefix, key, fingerprint), hashes)
    _check_registered(summary, job.registered_model, key)
    if is_chief:
        version = job.registered_model, summary["model_version"]
        model_card.describe(registry.version_uri(*version), job.registered_model, job.experiment_prefix)
        if candidate:  # also if it was done already: another training may have moved the alias
            registry.set_candidate_alias(*version)
    return summary


def _check_registered(summary: TrainSummary, registered_model: str, key: str) -> None:
    """Raise DataError if the model of a finished job is registered under another name than now requested."""
    if summary["registered_model"] != registered_model:
        raise DataError(
            f"job {key} is finished and its model is version {summary['model_version']} of "
            f"{summary['registered_model']}, not of {registered_model}; use --registered-model "
            f"{summary['registered_model']}, or --restart to train again"
        )


@dataclass(frozen=True)
class _Session:
    """Where a worker reads and writes its progress; only the chief has a run and a checkpointer."""

    checkpoints: CheckpointManager
    done: MlflowRun | None  # the finished run of this job
    run: ResumableRun | None = None
    checkpointer: AsyncCheckpointer | None = None


@contextmanager
def _open_session(job: TrainJob, seed: int, key: str, fingerprint: str) -> Iterator[_Session]:
    """On the chief take the lease and open the run; on other workers only look for a finished run."""
    store = open_store(f"{job.checkpoints}/{key}")
    if not job.distribution.is_chief:
        done = None
        # a chief that is done, or was refused because the key names another training, never joins
        with warn_on_failure("the query for a finished run", reraise=(DataError,)):
            done = None if job.restart else runs.finished_training(job.experiment_prefix, key, fingerprint)
        yield _Session(CheckpointManager(store, fingerprint, 0), done)
        return
    run = ResumableRun(describe(job, seed, fingerprint, key))
    with Lease(store, f"job {key}") as lease, run:
        checkpoints = CheckpointManager(store, fingerprint, lease.number)
        if job.restart:
            checkpoints.delete_all()
        yield _Session(checkpoints, run.done, run, AsyncCheckpointer(checkpoints, job.interval, lease))


def _restore_same(distribution: DistributedContext, checkpoints: CheckpointManager) -> Snapshot | None:
    """Return the chief's latest checkpoint, on every worker; EnvironmentUnsupported if only the chief can see it."""
    if distribution.is_chief:
        restored = checkpoints.restore_latest()
        distribution.broadcast(dataclasses.astuple(restored.id if restored else CheckpointId()))
        return restored
    chosen = CheckpointId(*distribution.broadcast(count=len(dataclasses.fields(CheckpointId))))
    if chosen == CheckpointId():
        return None
    try:
        return checkpoints.restore(chosen)
    except NotFound as error:
        raise EnvironmentUnsupported(f"{error}; --checkpoints must be a place that all workers share") from error


def _log_and_register(
    job: TrainJob,
    trained: TrainResult,
    pipeline: InputPipeline,
    run: ResumableRun,
    checkpointer: AsyncCheckpointer,
    profiler: StepProfiler | None,
) -> MlflowRun:
    """Register the model, log the outputs, and return the finished run."""
    recipe, manifest = job.recipe, job.manifest
    validation, example = predict(trained.model, pipeline, VALIDATION), pipeline.first_jpeg()
    boxed = has_boxes(*pipeline.boxes(VALIDATION))
    choice = choose_zoom(recipe, manifest, trained.model, pipeline, validation)
    metadata = model_files.ModelMetadata(
        manifest.classes, recipe.size, recipe.resize_mode, manifest.name, manifest.digest, choice.zoom
    )

    def log_outputs(run: Run) -> None:
        # first: a figure may be lost, the model may not
        log.info("registering the model as a version of %s", job.registered_model)
        registry.register(
            job.registered_model, lambda: str(classifier.log_model(trained.model, metadata, example).model_id)
        )
        training_outputs.log_zoom(run, choice)
        training_outputs.log_training(run, trained, validation, manifest.classes, boxed)
        if profiler:
            run.log_folder("profile", profiler.folder)

    try:
        return run.finish(log_outputs)
    except (RetryableError, ServiceUnavailable) as error:
        raise RetryableError(f"{error}; {checkpointer.status()}") from error


def describe(job: TrainJob, seed: int, fingerprint: str, key: str) -> Description:
    """Return what the run of a training has from its start."""
    recipe, distribution = job.recipe, job.distribution
    params = {**recipe.to_dict(), "policy": resolve_precision(recipe.precision), "seed": seed}
    params |= {"data": job.manifest.params(), "strategy": distribution.name, "workers": distribution.num_processes}
    tags = {runs.DIGEST: job.manifest.digest, **job.teacher_tags}
    if job.init_weights:
        tags["dogbreed.init_weights_sha256"] = job.init_weights.sha256
    return Description(
        experiment_prefix=job.experiment_prefix,
        key=key,
        fingerprint=fingerprint,
        name=f"{recipe.name}-{key[:8]}",
        params=runs.flatten_params(params),
        tags=tags,
        data=runs.dataset_input(job.manifest, job.store, "training"),
        fresh=job.restart,
    )


def _require_finished(prefix: str, key: str, fingerprint: str) -> MlflowRun:
    done = runs.finished_training(prefix, key, fingerprint)
    if done is None:
        raise RetryableError(f"worker 0 is done, but MLflow has no finished run of job {key}; run the same again")
    return done


def _summarize(run: MlflowRun, hashes: dict[str, str]) -> TrainSummary:
    """Return the summary of a finished run; `hashes` replace those of the chief."""
    tags, metrics = {name.removeprefix("dogbreed."): value for name, value in run.data.tags.items()}, run.data.metrics
    return {
        "run_id": run.info.run_id,
        "model_uri": tags["model_uri"],
        "registered_model": tags["registered_model"],
        "model_version": int(tags["model_version"]),
        "val_top1": metrics[training_outputs.BEST_TOP1],
        "test_zoom": metrics.get(training_outputs.TEST_ZOOM, 1.0),  # runs of earlier versions have none
        "val_top1_zoomed": metrics.get(training_outputs.ZOOMED_TOP1, metrics[training_outputs.BEST_TOP1]),
        "epochs": int(metrics["epochs"]),
        "seconds": round((run.info.end_time - run.info.start_time) / 1000),
        "peak_rss_mb": round(metrics["peak_rss_mb"]),
        "weights_sha256": hashes.get("weights_sha256", tags["weights_sha256"]),
        "optimizer_sha256": hashes.get("optimizer_sha256", tags["optimizer_sha256"]),
    }
