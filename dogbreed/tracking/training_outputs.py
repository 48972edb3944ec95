"""What a finished training logs beside its model: learning curves, tables, validation figures, scores of seeds."""

import logging
from collections.abc import Sequence

import mlflow
import numpy as np
import pandas as pd

from dogbreed.data.class_names import are_from_imagenet, describe_missing_classes
from dogbreed.data.splits import VALIDATION
from dogbreed.evaluation import intervals, metrics
from dogbreed.evaluation.figures import bars, confusion, curves
from dogbreed.evaluation.figures.image_grids import sample_predictions
from dogbreed.evaluation.predict import SplitPredictions
from dogbreed.evaluation.zoom import ZoomChoice
from dogbreed.tracking.registry import REGISTERED_MODEL
from dogbreed.tracking.runs import BOXES, IMAGENET, PARENT_RUN, MlflowRun, Run
from dogbreed.training.trainer import TrainResult

log = logging.getLogger(__name__)

BEST = "best_val"  # prefix of the metrics of the best epoch's weights on validation
BEST_TOP1 = f"{BEST}_top1"  # without a zoom
ZOOMED_TOP1 = f"{BEST_TOP1}_zoomed"  # with the chosen zoom
TEST_ZOOM = "test_zoom"  # the chosen zoom


def log_training(
    run: Run, trained: TrainResult, validation: SplitPredictions, classes: Sequence[str], has_boxes: bool
) -> None:
    """Log history, validation scores and figures, resource usage, hashes and kind of images to the active run."""
    log_history(run, trained)
    _log_validation(run, validation, classes)
    mlflow.set_tags({BOXES: str(has_boxes).lower(), IMAGENET: str(are_from_imagenet(classes)).lower()})


def log_history(run: Run, trained: TrainResult) -> None:
    """Log learning curves, resource usage and hashes to the active run."""
    history = pd.DataFrame(trained.history)
    run.log_figure("learning_curves", curves.learning_curves(history, trained.head_epochs))
    run.log_text("tables/history.csv", history.to_csv(index=False))
    run.log_metrics(0, {"best_epoch": trained.best["epoch"], "epochs": float(len(history)), **trained.resource_usage})
    mlflow.set_tags(
        {
            "dogbreed.weights_sha256": trained.weights_sha256,
            "dogbreed.optimizer_sha256": trained.optimizer_sha256,
        }
    )


def log_zoom(run: Run, choice: ZoomChoice) -> None:
    """Log the chosen zoom with its validation top-1 and, if others were tried, the table of all."""
    run.log_metrics(0, {TEST_ZOOM: choice.zoom, ZOOMED_TOP1: choice.top1})
    if len(choice.table) > 1:
        run.log_text("tables/test_zooms.csv", choice.table.to_csv(index=False))


def _log_validation(run: Run, validation: SplitPredictions, classes: Sequence[str]) -> None:
    labels, probabilities, images = validation
    low, high = intervals.mean_interval((probabilities.argmax(axis=1) == labels).astype(float))
    scores = {**metrics.compute_metrics(labels, probabilities), "top1_ci95_low": low, "top1_ci95_high": high}
    run.log_metrics(0, {f"{BEST}_{name}": value for name, value in scores.items()})
    missing = [classes[label] for label in metrics.classes_without_images(labels, len(classes))]
    if missing:
        log.warning("%s", describe_missing_classes(missing, len(classes), VALIDATION))
    table = metrics.per_class(labels, probabilities, classes)
    run.log_text(f"tables/per_class_{BEST}.csv", table.to_csv(index=False))
    run.log_figure(f"confusion_matrix_{BEST}", confusion.confusion_matrix(labels, probabilities, classes))
    run.log_figure(f"recall_by_class_{BEST}", bars.recall_bars(table))
    shown = slice(len(images))
    samples = sample_predictions(images, labels[shown], probabilities[shown], classes)
    run.log_figure(f"sample_predictions_{BEST}", samples)


def log_seeds(run: Run, children: Sequence[MlflowRun]) -> None:
    """Log mean, minimum and maximum validation top-1 of several seeds, and make `run` the parent of their runs.

    The tags of the model are those of the seed with the highest validation top-1.
    """
    for child in children:
        mlflow.MlflowClient().set_tag(child.info.run_id, PARENT_RUN, run.id)
    top1 = [child.data.metrics[BEST_TOP1] for child in children]
    run.log_metrics(0, {"mean_val_top1": float(np.mean(top1)), "min_val_top1": min(top1), "max_val_top1": max(top1)})
    best = max(children, key=lambda child: child.data.metrics[BEST_TOP1])
    mlflow.set_tags(
        {
            "dogbreed.model_uri": best.data.tags["dogbreed.model_uri"],
            "dogbreed.model_version": best.data.tags["dogbreed.model_version"],
            REGISTERED_MODEL: best.data.tags[REGISTERED_MODEL],
            "dogbreed.model_versions": ",".join(child.data.tags["dogbreed.model_version"] for child in children),
            "dogbreed.child_runs": ",".join(child.info.run_id for child in children),
        }
    )
