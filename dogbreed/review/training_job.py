"""A training from its lease to its registered model: whatever stops it, the same call goes on with it."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import mlflow

from dogbreed.data.dataset import Manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import VALIDATION
from dogbreed.platform.canonical_json import short_id
from dogbreed.platform.errors import ImpossibleHere, MissingObject, ServiceUnreachable, TryAgain
from dogbreed.platform.lease import Lease
from dogbreed.platform.log import configure
from dogbreed.platform.storage import Store, open_store
from dogbreed.review import classifier, model_card, results, tracking
from dogbreed.review.server import spared
from dogbreed.review.tracking import Run
from dogbreed.review.training_run import Description, TrainingRun
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
from dogbreed.training.prediction import predict
from dogbreed.training.progress import NullLogger
from dogbreed.training.recipe import Recipe, job_key
from dogbreed.training.trainer import TrainResult
from dogbreed.training.zoo.weights import Weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What trainings of several seeds share."""

    recipe: Recipe
    begin: Weights | None  # None: the model begins with random weights
    manifest: Manifest
    store: Store  # of the dataset
    scratch: Path
    checkpoints: str  # URI
    every: CheckpointInterval  # so often a checkpoint
    log_every: int  # steps between two log points of `step_*` metrics, 0 for none
    fresh: bool  # from the first step on, whatever was done before
    distribution: DistributedContext  # over devices and workers, not yet joined

    def content(self, seed: int) -> str:
        """Return the hash of all that determines a training, its default job key."""
        return job_key(self.recipe, self.begin.sha256 if self.begin else "", self.manifest.digest, seed)

    def pipeline(self) -> InputPipeline:
        """Return the batches of this worker."""
        recipe = self.recipe
        return InputPipeline(
            self.manifest, self.store, recipe.view, recipe.batch_size, self.scratch, self.distribution.batch_shard
        )


def train(work: Work, seed: int, name: str | None) -> dict[str, Any]:
    """Train with one seed, going on where an earlier start stopped, and return the summary.

    TryAgain while another process trains under the same job key, and when MLflow is away at the end.
    """
    content = work.content(seed)
    key = name or content
    configure(f"train {key}")
    store = open_store(f"{work.checkpoints}/{key}")
    if not work.distribution.is_chief:
        return follow(work, seed, content, key, store)
    run = TrainingRun(_described(work, seed, content, key))
    with Lease(store, f"job {key}") as lease, run:
        checkpoints = CheckpointManager(store, content, lease.number)
        if work.fresh:
            checkpoints.delete_all()
        done = run.done
        if done:
            log.info("done already in run %s; --restart trains again", done.info.run_id)
        else:
            checkpointer, pipeline = AsyncCheckpointer(checkpoints, work.every, lease), work.pipeline()
            workers = work.distribution
            with workers.translating_worker_loss():
                workers.join()
                workers.assert_same(content)
                restored = checkpoints.restore_latest()
                workers.broadcast(dataclasses.astuple(restored.id if restored else CheckpointId()))
                trained = trainer.train(
                    work.recipe,
                    work.manifest,
                    pipeline,
                    seed,
                    run,
                    work.begin,
                    checkpointer,
                    restored,
                    workers,
                    work.log_every,
                )
                done = _deliver(work, trained, pipeline, run, checkpointer)
                workers.barrier()
        checkpoints.delete_all()  # all is in MLflow
    summary = results.of_training(done)
    model_card.describe(f"models:/{tracking.MODEL}/{summary['model_version']}")
    return summary


def follow(work: Work, seed: int, content: str, key: str, store: Store) -> dict[str, Any]:
    """Train as one of several workers that write nothing, and return the summary once the chief has delivered.

    Its hashes are those of this worker's own weights and optimizer.
    """
    done, own, workers, checkpoints = None, dict[str, str](), work.distribution, CheckpointManager(store, content, 0)
    with spared("the question whether this job is done"):  # a chief that is done does not come any more
        done = None if work.fresh else tracking.finished_training(key, content)
    if done is None:
        with workers.translating_worker_loss():
            workers.join()
            workers.assert_same(content)
            restored = _shared(checkpoints, CheckpointId(*workers.broadcast(count=3)))
            trained = trainer.train(
                work.recipe, work.manifest, work.pipeline(), seed, NullLogger(), work.begin, None, restored, workers
            )
            workers.barrier()
        own = {"weights_sha256": trained.weights_sha256, "optimizer_sha256": trained.optimizer_sha256}
        done = tracking.finished_training(key, content)
    if done is None:
        raise TryAgain(f"worker 0 has delivered, but MLflow shows no finished run of job {key}; run the same again")
    return results.of_training(done) | own


def _shared(checkpoints: CheckpointManager, chosen: CheckpointId) -> Snapshot | None:
    """Return the checkpoint that the chief goes on with; ImpossibleHere when only the chief can see it."""
    if chosen == CheckpointId():
        return None
    try:
        return checkpoints.restore(chosen)
    except MissingObject as error:
        raise ImpossibleHere(f"{error}; --checkpoints must be a place that all workers share") from error


def _deliver(
    work: Work, trained: TrainResult, pipeline: InputPipeline, run: TrainingRun, checkpointer: AsyncCheckpointer
) -> mlflow.entities.Run:
    """Give MLflow the model, what is left of the metrics, and the pictures, and return the finished run."""
    recipe, manifest = work.recipe, work.manifest
    validation, example = predict(trained.model, pipeline, VALIDATION), pipeline.example()
    card = classifier.ModelMetadata(manifest.classes, recipe.size, recipe.resize_mode, manifest.digest)

    def leave(run: Run) -> None:
        results.register(trained, card, example)  # first: pictures may be lost, a model not
        results.log_training(run, trained, validation, manifest)

    try:
        return run.deliver(leave)
    except (TryAgain, ServiceUnreachable) as error:
        raise TryAgain(f"{error}; {checkpointer.status()}") from error


def _described(work: Work, seed: int, content: str, key: str) -> Description:
    """Return what the training's run in MLflow says from its beginning."""
    recipe = work.recipe
    computed = {"policy": resolve_precision(recipe.precision), "seed": seed, "data": work.manifest.config}
    computed |= {"strategy": work.distribution.name, "workers": work.distribution.num_processes}
    tags = {tracking.DIGEST: work.manifest.digest}
    if work.begin:
        tags["dogbreed.init_weights_sha256"] = work.begin.sha256
    return Description(
        key=key,
        content=content,
        name=f"{recipe.name}-{key[:8]}",
        params=tracking.flat({**recipe.to_dict(), **computed}),
        tags=tags,
        data=tracking.dataset_input(work.manifest, work.store, "training"),
        fresh=work.fresh,
    )


def train_all(work: Work, seeds: tuple[int, ...], name: str | None) -> dict[str, Any]:
    """Train with each seed in a run of its own, then put one with their mean and range above them."""
    content = short_id([work.content(seed) for seed in seeds])
    key = name or content
    summaries = []
    for seed in seeds:
        keras.utils.clear_session()  # the model before this one is in MLflow
        summaries.append(train(work, seed, f"{name}-{seed}" if name else None))
    configure(f"train {key}")
    done = tracking.finished_training(key, content)
    if done and not work.fresh:
        log.info("done already in run %s; --restart trains again", done.info.run_id)
        return results.of_seeds(done)
    tags = {tracking.JOB_KEY: key, tracking.CONTENT: content}
    params = {**work.recipe.to_dict(), "seeds": list(seeds), "data": work.manifest.config}
    with tracking.run("train", f"{work.recipe.name}-{len(seeds)}-seeds", params, tags) as run:
        results.log_seeds(run, summaries)
    return results.of_seeds(tracking.get(run.id))
