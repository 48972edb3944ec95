"""A training from its lease to its registered model: whatever stops it, the same call goes on with it."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import mlflow

from dogbreed.core.canonical_json import short_id
from dogbreed.core.errors import EnvironmentUnsupported, NotFound, RetryableError, ServiceUnavailable
from dogbreed.core.lease import Lease
from dogbreed.core.log import configure
from dogbreed.core.storage import Store, open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest
from dogbreed.data.splits import VALIDATION
from dogbreed.evaluation.predict import predict
from dogbreed.models.weights import Weights
from dogbreed.serving import classifier
from dogbreed.tracking import model_card, runs
from dogbreed.tracking.mlflow_errors import warn_on_failure
from dogbreed.tracking.resumable_run import Description, ResumableRun
from dogbreed.tracking.runs import Run
from dogbreed.training import trainer
from dogbreed.training.build import resolve_precision
from dogbreed.training.checkpoint import (
    AsyncCheckpointer,
    CheckpointId,
    CheckpointInterval,
    CheckpointManager,
    Snapshot,
)
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.progress import NullLogger
from dogbreed.training.recipe import Recipe, job_key
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import summaries as results

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainJob:
    """What trainings of several seeds share."""

    recipe: Recipe
    init_weights: Weights | None  # None: the model begins with random weights
    manifest: Manifest
    store: Store  # of the dataset
    scratch: Path
    checkpoints: str  # URI
    every: CheckpointInterval  # so often a checkpoint
    log_every: int  # steps between two log points of `step_*` metrics, 0 for none
    fresh: bool  # from the first step on, whatever was done before
    distribution: DistributedContext  # over devices and workers, not yet joined

    def fingerprint(self, seed: int) -> str:
        """Return the hash of all that determines a training, its default job key."""
        return job_key(self.recipe, self.init_weights.sha256 if self.init_weights else "", self.manifest.digest, seed)

    def pipeline(self) -> InputPipeline:
        """Return the batches of this worker."""
        recipe = self.recipe
        return InputPipeline(
            self.manifest, self.store, recipe.view, recipe.batch_size, self.scratch, self.distribution.batch_shard
        )


def train(job: TrainJob, seed: int, name: str | None) -> dict[str, Any]:
    """Train with one seed, going on where an earlier start stopped, and return the summary.

    RetryableError while another process trains under the same job key, and when MLflow is away at the end.
    """
    fingerprint = job.fingerprint(seed)
    key = name or fingerprint
    configure(f"train {key}")
    store = open_store(f"{job.checkpoints}/{key}")
    if not job.distribution.is_chief:
        return run_worker(job, seed, fingerprint, key, store)
    run = ResumableRun(_describe(job, seed, fingerprint, key))
    with Lease(store, f"job {key}") as lease, run:
        checkpoints = CheckpointManager(store, fingerprint, lease.number)
        if job.fresh:
            checkpoints.delete_all()
        done = run.done
        if done:
            log.info("done already in run %s; --restart trains again", done.info.run_id)
        else:
            checkpointer, pipeline = AsyncCheckpointer(checkpoints, job.every, lease), job.pipeline()
            workers = job.distribution
            with workers.translating_worker_loss():
                workers.join()
                workers.assert_same(fingerprint)
                restored = checkpoints.restore_latest()
                workers.broadcast(dataclasses.astuple(restored.id if restored else CheckpointId()))
                trained = trainer.train(
                    job.recipe,
                    job.manifest,
                    pipeline,
                    seed,
                    run,
                    job.init_weights,
                    checkpointer,
                    restored,
                    workers,
                    job.log_every,
                )
                done = _log_and_register(job, trained, pipeline, run, checkpointer)
                workers.barrier()
        checkpoints.delete_all()  # all is in MLflow
    summary = results.training_summary(done)
    model_card.describe(f"models:/{runs.MODEL}/{summary['model_version']}")
    return summary


def run_worker(job: TrainJob, seed: int, fingerprint: str, key: str, store: Store) -> dict[str, Any]:
    """Train as one of several workers that write nothing, and return the summary once the chief has delivered.

    Its hashes are those of this worker's own weights and optimizer.
    """
    done, own, workers, checkpoints = None, dict[str, str](), job.distribution, CheckpointManager(store, fingerprint, 0)
    with warn_on_failure("the question whether this job is done"):  # a chief that is done does not come any more
        done = None if job.fresh else runs.finished_training(key, fingerprint)
    if done is None:
        with workers.translating_worker_loss():
            workers.join()
            workers.assert_same(fingerprint)
            restored = _restore_shared(checkpoints, CheckpointId(*workers.broadcast(count=3)))
            trained = trainer.train(
                job.recipe, job.manifest, job.pipeline(), seed, NullLogger(), job.init_weights, None, restored, workers
            )
            workers.barrier()
        own = {"weights_sha256": trained.weights_sha256, "optimizer_sha256": trained.optimizer_sha256}
        done = runs.finished_training(key, fingerprint)
    if done is None:
        raise RetryableError(
            f"worker 0 has delivered, but MLflow shows no finished run of job {key}; run the same again"
        )
    return results.training_summary(done) | own


def _restore_shared(checkpoints: CheckpointManager, chosen: CheckpointId) -> Snapshot | None:
    """Return the checkpoint that the chief goes on with; EnvironmentUnsupported when only the chief can see it."""
    if chosen == CheckpointId():
        return None
    try:
        return checkpoints.restore(chosen)
    except NotFound as error:
        raise EnvironmentUnsupported(f"{error}; --checkpoints must be a place that all workers share") from error


def _log_and_register(
    job: TrainJob, trained: TrainResult, pipeline: InputPipeline, run: ResumableRun, checkpointer: AsyncCheckpointer
) -> mlflow.entities.Run:
    """Give MLflow the model, what is left of the metrics, and the pictures, and return the finished run."""
    recipe, manifest = job.recipe, job.manifest
    validation, example = predict(trained.model, pipeline, VALIDATION), pipeline.first_jpeg()
    metadata = classifier.ModelMetadata(manifest.classes, recipe.size, recipe.resize_mode, manifest.digest)

    def leave(run: Run) -> None:
        results.register(trained, metadata, example)  # first: pictures may be lost, a model not
        results.log_training(run, trained, validation, manifest)

    try:
        return run.finish(leave)
    except (RetryableError, ServiceUnavailable) as error:
        raise RetryableError(f"{error}; {checkpointer.status()}") from error


def _describe(job: TrainJob, seed: int, fingerprint: str, key: str) -> Description:
    """Return what the training's run in MLflow says from its beginning."""
    recipe = job.recipe
    computed = {"policy": resolve_precision(recipe.precision), "seed": seed, "data": job.manifest.config}
    computed |= {"strategy": job.distribution.name, "workers": job.distribution.num_processes}
    tags = {runs.DIGEST: job.manifest.digest}
    if job.init_weights:
        tags["dogbreed.init_weights_sha256"] = job.init_weights.sha256
    return Description(
        key=key,
        fingerprint=fingerprint,
        name=f"{recipe.name}-{key[:8]}",
        params=runs.flatten_params({**recipe.to_dict(), **computed}),
        tags=tags,
        data=runs.dataset_input(job.manifest, job.store, "training"),
        fresh=job.fresh,
    )


def run_seeds(job: TrainJob, seeds: tuple[int, ...], name: str | None) -> dict[str, Any]:
    """Train with each seed in a run of its own, then put one with their mean and range above them."""
    fingerprint = short_id([job.fingerprint(seed) for seed in seeds])
    key = name or fingerprint
    summaries = []
    for seed in seeds:
        keras.utils.clear_session()  # the model before this one is in MLflow
        summaries.append(train(job, seed, f"{name}-{seed}" if name else None))
    configure(f"train {key}")
    done = runs.finished_training(key, fingerprint)
    if done and not job.fresh:
        log.info("done already in run %s; --restart trains again", done.info.run_id)
        return results.seeds_summary(done)
    tags = {runs.JOB_KEY: key, runs.CONTENT: fingerprint}
    params = {**job.recipe.to_dict(), "seeds": list(seeds), "data": job.manifest.config}
    with runs.start_run("train", f"{job.recipe.name}-{len(seeds)}-seeds", params, tags) as run:
        results.log_seeds(run, summaries)
    return results.seeds_summary(runs.get_run(run.id))
