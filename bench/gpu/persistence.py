"""Rows of `python -m bench.gpu` about files: a training that is resumed, a model that another device loads."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu.training import SIZES, choose
from dogbreed.core.errors import DataError, ShutdownRequested
from dogbreed.core.lease import Lease
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.splits import TRAIN
from dogbreed.serving import model_files
from dogbreed.training import trainer
from dogbreed.training.checkpoint import CheckpointManager, Snapshot
from dogbreed.training.checkpointer import AsyncCheckpointer, CheckpointInterval
from dogbreed.training.progress import NullLogger
from dogbreed.training.recipe import Recipe

RESUMED, LOADED = "simple-64", "mobilenetv2-160"  # recipes
LOSS_TOLERANCE = 2e-3  # relative: a GPU adds up in another order at each run
PROBABILITY_TOLERANCE = 2e-3  # a GPU multiplies float32 with 10 bits of mantissa (TensorFloat-32)
IMAGES = 16


class StoppingCheckpointer(AsyncCheckpointer):
    """Stops the training after a step, as a signal does."""

    def __init__(self, folder: Path, step: int) -> None:
        store = LocalStore(folder)
        super().__init__(CheckpointManager(store, "bench", 1), CheckpointInterval(seconds=3600.0), Lease(store, "row"))
        self._left = step

    def check_lease(self) -> None:
        """Raise ShutdownRequested after the step."""
        self._left -= 1
        if self._left == 0:
            raise ShutdownRequested


class Training:
    """Trainings of one recipe on one dataset."""

    def __init__(self, recipe: Recipe, data: str, cache: str) -> None:
        store = open_store(data)
        self._recipe, self.manifest = recipe, load_manifest(store)
        self._pipeline = InputPipeline(self.manifest, store, recipe.view, recipe.batch_size, Path(cache))
        self.steps = self._pipeline.steps_per_epoch(TRAIN)

    def run(
        self, checkpointer: AsyncCheckpointer | None = None, restored: Snapshot | None = None
    ) -> trainer.TrainResult:
        """Train as jobs.train does."""
        return trainer.train(
            self._recipe, self.manifest, self._pipeline, 0, NullLogger(), checkpointer=checkpointer, restored=restored
        )


def resume(device: str, data: str, home: str) -> dict[str, Any]:
    """Train two epochs, and the same with a stop within the second and a resume; DataError if the losses differ."""
    training = Training(choose(RESUMED, SIZES[device].batch_size, "epochs=2", "precision=float32"), data, home)
    stop = training.steps + max(1, training.steps // 2)
    whole = training.run().history[-1]["loss"]
    checkpointer = StoppingCheckpointer(Path(home) / "checkpoints", stop)
    with suppress(ShutdownRequested):
        training.run(checkpointer)
    resumed = training.run(restored=checkpointer.manager.restore_latest()).history[-1]["loss"]
    difference = abs(resumed / whole - 1)
    text = (
        f"{RESUMED}, stopped after step {stop} of {2 * training.steps}: loss {resumed:.6f}, without the stop "
        f"{whole:.6f}, difference {difference:.1e} (at most {LOSS_TOLERANCE:g})"
    )
    return _require(difference <= LOSS_TOLERANCE, text, difference)


def save_and_load(device: str, data: str, home: str) -> dict[str, Any]:
    """Train and save a model here, load it in a process without a GPU; DataError if the probabilities differ."""
    recipe = choose(LOADED, SIZES[device].batch_size, "epochs=1")
    training = Training(recipe, data, home)
    model = training.run().model
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, recipe.size, recipe.size, 3), np.uint8)
    here, folder = model.predict_on_batch(images), Path(home) / "model"
    folder.mkdir()
    model_files.save(model, _metadata(recipe, training.manifest), folder)
    np.save(folder / "images.npy", images)
    there = _predict_on_cpu(folder)
    difference = float(np.abs(here - there).max())
    text = f"{LOADED}: greatest difference of probabilities {difference:.1e} (at most {PROBABILITY_TOLERANCE:g})"
    return _require(difference <= PROBABILITY_TOLERANCE, text, difference)


def _metadata(recipe: Recipe, manifest: Manifest) -> model_files.ModelMetadata:
    return model_files.ModelMetadata(manifest.classes, recipe.size, recipe.resize_mode, manifest.name, manifest.digest)


def _predict_on_cpu(folder: Path) -> np.ndarray:
    """Return the probabilities that a process without a GPU computes."""
    command = [sys.executable, "-m", "bench.gpu.row", "persistence.predict", json.dumps({"folder": str(folder)})]
    subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, stdout=subprocess.DEVNULL, check=True)
    return np.asarray(np.load(folder / "probabilities.npy"))


def predict(folder: str) -> dict[str, Any]:
    """Write the probabilities of a saved model for the images beside it."""
    place = Path(folder)
    model, _ = model_files.load(place)
    np.save(place / "probabilities.npy", model.predict_on_batch(np.load(place / "images.npy")))
    return {}


def _require(holds: bool, text: str, difference: float) -> dict[str, Any]:
    if not holds:
        raise DataError(text)
    return {"text": text, "difference": difference}
