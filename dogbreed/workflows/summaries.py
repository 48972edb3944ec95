"""What a training or an evaluation leaves in its MLflow run, and its summary."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
import pandas as pd
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from dogbreed.core import canonical_json
from dogbreed.core.errors import DataError, RetryableError, UsageError
from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import intervals, metrics
from dogbreed.evaluation.figures import curves
from dogbreed.models import weights
from dogbreed.models.weights import Weights
from dogbreed.serving import classifier
from dogbreed.serving.classifier import ModelMetadata
from dogbreed.tracking import runs
from dogbreed.tracking.runs import Run
from dogbreed.training.recipe import Recipe
from dogbreed.training.trainer import TrainResult

PredictionArrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # labels, probabilities, first photos

log = logging.getLogger(__name__)


def check_classes_match(metadata: ModelMetadata, manifest: Manifest) -> None:
    """Raise DataError when model and dataset number their breeds differently; warn of other data."""
    if metadata.classes != manifest.classes:
        raise DataError(
            f"the model knows {len(metadata.classes)} breeds, the dataset has {len(manifest.classes)} or others; "
            "evaluate on a dataset with the same breeds"
        )
    if metadata.dataset_digest != manifest.digest:
        log.warning(
            "the model was trained on dataset %s, this is %s: its splits may differ",
            metadata.dataset_digest[:12],
            manifest.digest[:12],
        )


def log_evaluation(run: Run, split: str, predictions: PredictionArrays, manifest: Manifest) -> dict[str, float]:
    """Log scores and pictures of a split and return the scores: top1, top5, macro_f1, loss."""
    labels, probabilities, photos = predictions
    scores = metrics.compute_metrics(labels, probabilities)
    low, high = intervals.mean_interval((probabilities.argmax(axis=1) == labels).astype(float))
    logged = {**scores, "top1_ci95_low": low, "top1_ci95_high": high}
    run.log_metrics(0, {f"{split}_{name}": value for name, value in logged.items()})
    run.log_prediction_figures(split, labels, probabilities, manifest.classes, photos)
    return scores


def evaluation_key(uri: str, manifest: Manifest, split: str, beside: Mapping[str, Any], names: frozenset[str]) -> str:
    """Return what two evaluations that must come to the same result share.

    beside: --tta and what the model is compared with; names: of photos that a pretraining may have seen.
    """
    return canonical_json.digest(
        {
            "model": uri,
            "dataset_digest": manifest.digest,
            "split": split,
            "options": dict(beside),
            "pretraining_list": sorted(names),
        }
    )


def finished_evaluation(uri: str, key: str) -> mlflow.entities.Run | None:
    """Return the finished run of the evaluation `key`; None for a folder, whose model may have changed since."""
    if not re.match(r"(models|runs):/", uri):
        return None
    return runs.finished_run("evaluate", runs.EVALUATION, key)


def evaluation_summary(run: mlflow.entities.Run, manifest: Manifest) -> dict[str, Any]:
    """Return the summary of a finished evaluation."""
    split, logged = run.data.tags["dogbreed.split"], run.data.metrics
    scores = {name.removeprefix(f"{split}_"): value for name, value in logged.items() if name.startswith(f"{split}_")}
    return {
        "run_id": run.info.run_id,
        "model": run.data.params["model"],
        **scores,
        "images": manifest.split(split).num_images,
    }


def resolve_weights(recipe: Recipe, folder: Path) -> Weights | None:
    """Bring what a recipe begins with into a local folder; None when it begins with nothing."""
    if recipe.weights == "none":
        return None
    if recipe.weights.endswith("@candidate"):
        raise UsageError(
            f"--weights {recipe.weights}: each training moves that alias to its own model; "
            f"name a version, {runs.resolve(recipe.weights)}"
        )
    if re.match(r"(models|runs):/", recipe.weights):
        return Weights.from_file(classifier.model_path(runs.download(runs.resolve(recipe.weights), folder / "weights")))
    return weights.resolve(recipe.weights, recipe.model, folder)


def log_training(run: Run, trained: TrainResult, validation: PredictionArrays, manifest: Manifest) -> None:
    """Log the learning curves, the kept epoch, the hashes, the memory and what validation looks like."""
    history = pd.DataFrame(trained.history)
    run.log_figure("learning_curves", curves.learning_curves(history, trained.head_epochs))
    run.log_text("tables/history.csv", history.to_csv(index=False))
    log_evaluation(run, "best_val", validation, manifest)
    run.log_metrics(0, {"best_epoch": trained.best["epoch"], "epochs": float(len(history)), **trained.resource_usage})
    mlflow.set_tags(
        {"dogbreed.weights_sha256": trained.weights_sha256, "dogbreed.optimizer_sha256": trained.optimizer_sha256}
    )


def log_seeds(run: Run, summaries: Sequence[dict[str, Any]]) -> None:
    """Log mean, lowest and highest validation top-1 of several seeds, and put their runs below this one."""
    for summary in summaries:
        mlflow.MlflowClient().set_tag(summary["run_id"], MLFLOW_PARENT_RUN_ID, run.id)
    found = [summary["val_top1"] for summary in summaries]
    run.log_metrics(0, {"mean_val_top1": float(np.mean(found)), "min_val_top1": min(found), "max_val_top1": max(found)})
    best = max(summaries, key=lambda summary: float(summary["val_top1"]))
    versions, runs = (",".join(str(s[key]) for s in summaries) for key in ("model_version", "run_id"))
    mlflow.set_tags(
        {
            "dogbreed.model_uri": best["model_uri"],
            "dogbreed.model_version": best["model_version"],
            "dogbreed.model_versions": versions,
            "dogbreed.child_runs": runs,
        }
    )


def seeds_summary(run: mlflow.entities.Run) -> dict[str, Any]:
    """Return the summary of a training with several seeds; the model is the best one on validation."""
    scores = {f"{name}_val_top1": run.data.metrics[f"{name}_val_top1"] for name in ("mean", "min", "max")}
    tags = run.data.tags
    return {
        "run_id": run.info.run_id,
        "child_runs": tags["dogbreed.child_runs"].split(","),
        "model_uri": tags["dogbreed.model_uri"],
        "model_version": int(tags["dogbreed.model_version"]),
        "versions": [int(version) for version in tags["dogbreed.model_versions"].split(",")],
        **scores,
    }


def register(trained: TrainResult, metadata: ModelMetadata, example: bytes) -> int:
    """Log the model to the active run and register it, unless an earlier start has, and return its version.

    RetryableError when MLflow or its artifact store does not take it.
    """
    try:
        run = cast(mlflow.ActiveRun, mlflow.active_run()).info
        version = runs.version_of(run.run_id)
        if version is None:
            model = runs.logged_model(run) or classifier.log_model(trained.model, metadata, example).model_id
            version = mlflow.register_model(f"models:/{model}", runs.MODEL)
        mlflow.set_tags({"dogbreed.model_uri": version.source, "dogbreed.model_version": version.version})
    except Exception as error:  # an artifact store may raise anything, and hours of training are behind this model
        raise RetryableError(f"MLflow did not take the model: {error}") from error
    return int(version.version)


def training_summary(run: mlflow.entities.Run) -> dict[str, Any]:
    """Return the summary of a finished training."""
    tags, logged = run.data.tags, run.data.metrics
    return {
        "run_id": run.info.run_id,
        "model_uri": tags["dogbreed.model_uri"],
        "model_version": int(tags["dogbreed.model_version"]),
        "val_top1": logged["best_val_top1"],
        "epochs": int(logged["epochs"]),
        "seconds": round((run.info.end_time - run.info.start_time) / 1000),
        "peak_rss_mb": round(logged["peak_rss_mb"]),
        "weights_sha256": tags["dogbreed.weights_sha256"],
        "optimizer_sha256": tags["dogbreed.optimizer_sha256"],
    }
