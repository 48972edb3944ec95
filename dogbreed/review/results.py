"""What a training or an evaluation leaves in its MLflow run, and its summary."""

from typing import Any

import mlflow
import numpy as np
import pandas as pd

from dogbreed.data.dataset import Manifest
from dogbreed.platform.errors import DataContradiction
from dogbreed.review import figures, metrics
from dogbreed.review.classifier import Card
from dogbreed.review.tracking import Run
from dogbreed.training.trainer import Trained

Predictions = tuple[np.ndarray, np.ndarray, np.ndarray]  # labels, probabilities, first photos


def check_classes(card: Card, manifest: Manifest) -> None:
    """Raise DataContradiction when model and dataset number their breeds differently."""
    if card.classes != manifest.classes:
        raise DataContradiction(
            f"the model knows {len(card.classes)} breeds, the dataset has {len(manifest.classes)} or others; "
            "evaluate on a dataset with the same breeds"
        )


def log_evaluation(run: Run, split: str, predictions: Predictions, manifest: Manifest) -> dict[str, float]:
    """Log scores and pictures of a split and return the scores: top1, top5, macro_f1, loss."""
    labels, probabilities, photos = predictions
    scores = metrics.scores(labels, probabilities)
    run.log(0, {f"{split}_{name}": value for name, value in scores.items()})
    run.predictions(split, labels, probabilities, manifest.classes, photos)
    return scores


def log_training(run: Run, trained: Trained, validation: Predictions, manifest: Manifest) -> None:
    """Log the learning curves, the kept epoch, the hashes and what validation looks like."""
    history = pd.DataFrame(trained.history)
    run.picture("learning_curves", figures.learning_curves(history))
    mlflow.log_text(history.to_csv(index=False), "tables/history.csv")
    log_evaluation(run, "best_val", validation, manifest)
    run.log(0, {"best_epoch": trained.best["epoch"], "epochs": float(len(history))})
    mlflow.set_tags(
        {
            "dogbreed.weights_sha256": trained.weights_sha256,
            "dogbreed.optimizer_sha256": trained.optimizer_sha256,
        }
    )


def of_training(run: mlflow.entities.Run) -> dict[str, Any]:
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
