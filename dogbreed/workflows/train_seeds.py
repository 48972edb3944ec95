"""jobs.train --seeds: train a recipe with several seeds and record the mean and the range of their scores."""

import logging
from collections.abc import Sequence
from typing import TypedDict

import keras

from dogbreed.core.canonical_json import short_id
from dogbreed.core.log import configure
from dogbreed.tracking import registry, runs, training_outputs
from dogbreed.tracking.runs import MlflowRun
from dogbreed.workflows import train
from dogbreed.workflows.train_job import TrainJob

log = logging.getLogger(__name__)


class SeedsSummary(TypedDict):
    """Summary of jobs.train --seeds; the model is that of the seed with the highest validation top-1."""

    run_id: str
    child_runs: list[str]
    model_uri: str
    registered_model: str
    model_version: int
    versions: list[int]
    mean_val_top1: float
    min_val_top1: float
    max_val_top1: float


def train_seeds(job: TrainJob, seeds: Sequence[int], name: str | None) -> SeedsSummary:
    """Train with each seed in a run of its own, then create their parent run with the mean and the range."""
    fingerprint = short_id([job.fingerprint(seed) for seed in seeds])
    key = name or fingerprint
    children = []
    for seed in seeds:
        keras.utils.clear_session()  # the previous model is in MLflow
        children.append(train.train(job, seed, f"{name}-{seed}" if name else None, candidate=False))
    configure(f"train {key}")
    done = runs.finished_training(job.experiment_prefix, key, fingerprint)
    if done and not job.restart:
        log.info("already trained in run %s; use --restart to train again", done.info.run_id)
    else:
        tags = {runs.JOB_KEY: key, runs.JOB_FINGERPRINT: fingerprint}
        params = {**job.recipe.to_dict(), "seeds": list(seeds), "data": job.manifest.params()}
        run_name = f"{job.recipe.name}-{len(seeds)}-seeds"
        with runs.start_run(job.experiment_prefix, "train", run_name, params, tags) as run:
            training_outputs.log_seeds(run, [runs.get_run(child["run_id"]) for child in children])
        done = runs.get_run(run.id)
    summary = _summarize_seeds(done)
    registry.set_candidate_alias(summary["registered_model"], summary["model_version"])
    return summary


def _summarize_seeds(run: MlflowRun) -> SeedsSummary:
    tags, metrics = run.data.tags, run.data.metrics
    return {
        "run_id": run.info.run_id,
        "child_runs": tags["dogbreed.child_runs"].split(","),
        "model_uri": tags["dogbreed.model_uri"],
        "registered_model": tags[registry.REGISTERED_MODEL],
        "model_version": int(tags["dogbreed.model_version"]),
        "versions": [int(version) for version in tags["dogbreed.model_versions"].split(",")],
        "mean_val_top1": metrics["mean_val_top1"],
        "min_val_top1": metrics["min_val_top1"],
        "max_val_top1": metrics["max_val_top1"],
    }
