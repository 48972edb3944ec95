"""A training from its lease to its registered model: whatever stops it, the same call goes on with it."""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import mlflow

from dogbreed.data.dataset import Manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import VALIDATION
from dogbreed.platform.errors import ImpossibleHere, MissingObject, ServiceUnreachable, TryAgain
from dogbreed.platform.lease import Lease
from dogbreed.platform.log import configure
from dogbreed.platform.storage import Store, open_store
from dogbreed.review import classifier, model_card, results, tracking
from dogbreed.review.server import spared
from dogbreed.review.tracking import Run
from dogbreed.review.training_run import Description, TrainingRun
from dogbreed.training import checkpoint, trainer
from dogbreed.training.checkpoint import Checkpoints, Snapshot
from dogbreed.training.distribution import Distribution
from dogbreed.training.prediction import predict
from dogbreed.training.recipe import Recipe, job_key
from dogbreed.training.saver import Every, Saver
from dogbreed.training.trainer import Trained
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
    every: Every  # so often a checkpoint
    fresh: bool  # from the first step on, whatever was done before
    distribution: Distribution  # over devices and workers, not yet joined

    def content(self, seed: int) -> str:
        """Return the hash of all that determines a training, its default job key."""
        return job_key(self.recipe, self.begin.sha256 if self.begin else "", self.manifest.digest, seed)

    def pipeline(self) -> InputPipeline:
        """Return the batches of this worker."""
        recipe = self.recipe
        return InputPipeline(
            self.manifest, self.store, recipe.view, recipe.batch_size, self.scratch, self.distribution.share
        )


def train(work: Work, seed: int, name: str | None) -> dict[str, Any]:
    """Train with one seed, going on where an earlier start stopped, and return the summary.

    TryAgain while another process trains under the same job key, and when MLflow is away at the end.
    """
    content = work.content(seed)
    key = name or content
    configure(f"train {key}")
    store = open_store(f"{work.checkpoints}/{key}")
    if not work.distribution.chief:
        return follow(work, seed, content, key, store)
    run = TrainingRun(_described(work, seed, content, key))
    with Lease(store, f"job {key}") as lease, run:
        checkpoints = Checkpoints(store, content, lease.number)
        if work.fresh:
            checkpoints.clear()
        done = run.done
        if done:
            log.info("done already in run %s; --fresh trains again", done.info.run_id)
        else:
            saver, pipeline, workers = Saver(checkpoints, work.every, lease), work.pipeline(), work.distribution
            with workers.watched():
                workers.join()
                workers.agree(content)
                saved = checkpoints.newest()
                workers.told(checkpoint.numbers_of(saved))
                trained = trainer.train(
                    work.recipe, work.manifest, pipeline, seed, run, work.begin, saver, saved, workers
                )
                done = _deliver(work, trained, pipeline, run, saver)
                workers.meet()
        checkpoints.clear()  # all is in MLflow
    summary = results.of_training(done)
    model_card.describe(f"models:/{tracking.MODEL}/{summary['model_version']}")
    return summary


def follow(work: Work, seed: int, content: str, key: str, store: Store) -> dict[str, Any]:
    """Train as one of several workers that write nothing, and return the summary once the chief has delivered.

    Its hashes are those of this worker's own weights and optimizer.
    """
    done, own, workers, checkpoints = None, dict[str, str](), work.distribution, Checkpoints(store, content, 0)
    with spared("the question whether this job is done"):  # a chief that is done does not come any more
        done = None if work.fresh else tracking.finished_training(key, content)
    if done is None:
        with workers.watched():
            workers.join()
            workers.agree(content)
            saved = _shared(checkpoints, workers.told(count=3))
            trained = trainer.train(
                work.recipe, work.manifest, work.pipeline(), seed, Unheard(), work.begin, None, saved, workers
            )
            workers.meet()
        own = {"weights_sha256": trained.weights_sha256, "optimizer_sha256": trained.optimizer_sha256}
        done = tracking.finished_training(key, content)
    if done is None:
        raise TryAgain(f"worker 0 has delivered, but MLflow shows no finished run of job {key}; run the same again")
    return results.of_training(done) | own


def _shared(checkpoints: Checkpoints, numbers: list[int]) -> Snapshot | None:
    """Return the checkpoint that the chief goes on with; ImpossibleHere when only the chief can see it."""
    if not any(numbers):
        return None
    try:
        return checkpoints.read(checkpoint.folder_of(numbers))
    except MissingObject as error:
        raise ImpossibleHere(f"{error}; --checkpoints must be a place that all workers share") from error


class Unheard:
    """The observer of a worker that reports to nobody: all workers see the same, the chief tells."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Let them pass."""

    def state(self) -> bytes:
        """Return nothing."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take nothing."""


def _deliver(
    work: Work, trained: Trained, pipeline: InputPipeline, run: TrainingRun, saver: Saver
) -> mlflow.entities.Run:
    """Give MLflow the model, what is left of the metrics, and the pictures, and return the finished run."""
    recipe, manifest = work.recipe, work.manifest
    validation, example = predict(trained.model, pipeline, VALIDATION), pipeline.example()
    card = classifier.Card(manifest.classes, recipe.size, recipe.shape, manifest.digest)

    def leave(run: Run) -> None:
        results.register(trained, card, example)  # first: pictures may be lost, a model not
        results.log_training(run, trained, validation, manifest)

    try:
        return run.deliver(leave)
    except (TryAgain, ServiceUnreachable) as error:
        raise TryAgain(f"{error}; {saver.holds()}") from error


def _described(work: Work, seed: int, content: str, key: str) -> Description:
    """Return what the training's run in MLflow says from its beginning."""
    recipe = work.recipe
    computed = {"policy": trainer.policy(recipe.precision), "seed": seed, "data": work.manifest.options}
    computed |= {"strategy": work.distribution.name, "workers": work.distribution.workers}
    tags = {tracking.DIGEST: work.manifest.digest}
    if work.begin:
        tags["dogbreed.begun_with_sha256"] = work.begin.sha256
    return Description(
        key=key,
        content=content,
        name=f"{recipe.name}-{key[:8]}",
        params=tracking.flat({**dataclasses.asdict(recipe), **computed}),
        tags=tags,
        data=tracking.dataset_input(work.manifest, work.store, "training"),
        fresh=work.fresh,
    )


def train_all(work: Work, seeds: tuple[int, ...], name: str | None) -> dict[str, Any]:
    """Train with each seed in a run of its own, then put one with their mean and range above them."""
    content = hashlib.sha256(" ".join(map(work.content, seeds)).encode()).hexdigest()[:16]
    key = name or content
    summaries = []
    for seed in seeds:
        keras.utils.clear_session()  # the model before this one is in MLflow
        summaries.append(train(work, seed, f"{name}-{seed}" if name else None))
    configure(f"train {key}")
    done = tracking.finished_training(key, content)
    if done and not work.fresh:
        log.info("done already in run %s; --fresh trains again", done.info.run_id)
        return results.of_seeds(done)
    tags = {tracking.JOB_KEY: key, tracking.CONTENT: content}
    params = {**dataclasses.asdict(work.recipe), "seeds": list(seeds), "data": work.manifest.options}
    with tracking.run("train", f"{work.recipe.name}-{len(seeds)}-seeds", params, tags) as run:
        results.log_seeds(run, summaries)
    return results.of_seeds(tracking.get(run.id))
