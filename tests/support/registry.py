"""Registered models and their evaluations as jobs leave them, made in a second instead of trained."""

import contextlib
from pathlib import Path

import keras
import mlflow
import numpy as np
from mlflow.exceptions import MlflowException

from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.evaluation import intervals
from dogbreed.serving import classifier, model_files
from dogbreed.tracking import registry, runs
from dogbreed.tracking.runs import DIGEST
from tests.support.encoded_images import encoded, flat

SIZE = 32
TRAINED = {"name": "simple-64", "model": "simple", "size": 64, "seed": 0, "weights": "none", "policy": "float32"}


def tiny(bias: float = 0.0) -> keras.Model:
    """Return a model of four breeds that mostly answers with the first one, the more so the higher `bias` is."""
    photo = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(photo))
    dense = keras.layers.Dense(4, activation="softmax")
    model = keras.Model(photo, dense(x), name="tiny")
    dense.set_weights([np.zeros((3, 4)), np.array([bias, 0, 0, 0])])
    return model


def register(
    dataset: Path, network: keras.Model | None = None, hours: float = 0.5, kind: str = "dogs", **params: object
) -> int:
    """Register a model that has been trained on `dataset`, as jobs.train does, and return its version.

    Without a network the version has a run but no files, which take seconds. kind: `own` for images without bounding
    boxes that do not come from ImageNet.
    """
    manifest = load_manifest(LocalStore(dataset))
    metadata = model_files.ModelMetadata(manifest.classes, SIZE, "squash", "dogbreed", manifest.digest)
    own = kind == "own"
    tags = {DIGEST: manifest.digest, runs.BOXES: str(not own).lower(), runs.IMAGENET: str(not own).lower()}
    described = runs.flatten_params({**TRAINED, **params, "data": manifest.params()})
    with runs.start_run("dogbreed", "train", "tiny", described, tags) as run:
        scores = {
            "best_val_top1": 0.5,
            "best_val_top1_ci95_low": 0.25,
            "best_val_top1_ci95_high": 0.75,
            "best_val_top5": 1.0,
        }
        run.log_metrics(0, {**scores, "best_val_macro_f1": 0.4, "epochs": 12.0, "best_epoch": 9.0, "cpu_hours": hours})
        if network:
            return registry.register(
                "dogbreed", lambda: str(classifier.log_model(network, metadata, encoded(flat(0))).model_id)
            )
        with contextlib.suppress(MlflowException):  # it is there
            mlflow.MlflowClient().create_registered_model("dogbreed")
        return int(mlflow.MlflowClient().create_model_version("dogbreed", "nowhere", run.id).version)


def evaluate(version: int, digest: str, hits: int, photos: int = 100, tta: str = "none", **scores: float) -> str:
    """Leave the run of an evaluation on the test split, as jobs.evaluate does, and return its id."""
    low, high = intervals.mean_interval((np.arange(photos) < hits).astype(float))
    found = {
        "top1": hits / photos,
        "top1_ci95_low": low,
        "top1_ci95_high": high,
        "top5": 0.9,
        "macro_f1": 0.4,
        **scores,
    }
    params = {"model": f"models:/dogbreed/{version}", "tta": tta, "split": "test"}
    trained = mlflow.MlflowClient().get_model_version("dogbreed", str(version)).run_id
    tags = {DIGEST: digest, "dogbreed.split": "test", "dogbreed.training_run": trained}
    with runs.start_run("dogbreed", "evaluate", "tiny-test", params, tags) as run:
        run.log_metrics(0, {f"test_{name}": value for name, value in found.items()})
    return run.id


def tag(version: int, name: str) -> str | None:
    """Return a tag of a registered version."""
    found = mlflow.MlflowClient().get_model_version("dogbreed", str(version)).tags.get(name)
    return None if found is None else str(found)
