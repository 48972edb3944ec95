"""A few steps of a training with one batch size, as a process of its own: what exhausts memory may end the process.

`python -m dogbreed.workflows.batch_size_trial JSON` prints the `Trial` as JSON.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypedDict

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core import rendezvous, resources
from dogbreed.core.errors import DogbreedError, EnvironmentUnsupported
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.training import memory_estimate
from dogbreed.training.build import build_model
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.out_of_memory import smaller_batch, translating_out_of_memory
from dogbreed.training.phases import prepare_model
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import recipe_for_weights
from dogbreed.training.steps import Evaluator, MetricSums, make_train_step
from dogbreed.training.strategy import resolve_strategy
from dogbreed.workflows import gpu_memory

STEPS = 5  # after the first, which traces and compiles
ONE_STEP = "steps_per_execution=1"  # more take the same memory


class Trial(TypedDict):
    """Result of one batch size."""

    batch_size: int
    problem: str  # why it does not fit into memory; empty where it fits
    images_per_second: float
    peak_gib: float  # of the fullest GPU, or of the process on a CPU


def run(data: str, recipe: str, weights: str | None, settings: list[str], strategy: str) -> Trial:
    """Take a few steps on random images, and evaluate some."""
    chosen = apply_overrides(recipe_for_weights(recipe, weights), [*settings, ONE_STEP])
    distribution = resolve_strategy(strategy, rendezvous.cluster_from_env(), chosen)
    distribution.check(chosen)
    if not distribution.is_replicated:
        gpu_memory.use_first_gpu()
    distribution.join()
    store = open_store(data)
    manifest = load_manifest(store)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = InputPipeline(manifest, store, chosen.view, chosen.batch_size, Path(folder))
        try:
            advice = smaller_batch(chosen.batch_size, distribution.batch_unit)
            with translating_out_of_memory(chosen.batch_size, advice):
                model = build_model(chosen, len(manifest.classes))
                memory_estimate.check(memory_estimate.estimate(model, chosen, pipeline), chosen)
                rate = _measure(chosen, model, distribution)
        except EnvironmentUnsupported as error:
            return {"batch_size": chosen.batch_size, "problem": str(error), "images_per_second": 0.0, "peak_gib": 0.0}
    peak = _peak(distribution) / resources.GIB
    return {"batch_size": chosen.batch_size, "problem": "", "images_per_second": rate, "peak_gib": peak}


def _measure(recipe: Recipe, model: keras.Model, distribution: DistributedContext) -> float:
    """Train and evaluate the model, and return the images/s of the training."""
    classes = model.output.shape[-1]
    model = prepare_model(recipe, model, distribution, 1, recipe.weights != "none")
    ema_model = build_model(recipe, classes) if recipe.ema_decay else None
    with distribution.scope():
        model.optimizer.build(model.trainable_variables)
        sums = MetricSums()
    batches = random_batches(recipe, classes)
    step, iterator = make_train_step(model, sums, distribution), distribution.iterate(batches, recipe.batch_size)
    step(next(iterator))
    sums.read()
    began = time.monotonic()
    for _ in range(STEPS):
        step(next(iterator))
    sums.read()
    rate = STEPS * recipe.batch_size / (time.monotonic() - began)
    Evaluator(ema_model or model, model, distribution).evaluate(batches.take(1))
    return rate


def random_batches(recipe: Recipe, classes: int) -> tf.data.Dataset:
    """Return the same batch again and again: uint8 images of noise, one-hot labels."""
    shape = (recipe.batch_size, recipe.size, recipe.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = np.eye(classes, dtype=np.float32)[np.arange(recipe.batch_size) % classes]
    with tf.device("CPU"):  # a GPU's memory is for the model
        return tf.data.Dataset.from_tensors((images, labels)).repeat()


def _peak(distribution: DistributedContext) -> int:
    """Return the bytes of the fullest GPU, or of this process where there is none."""
    peaks = [tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in distribution.gpus]
    return int(max(peaks, default=resources.peak_memory()))


def main(arguments: dict[str, Any]) -> None:
    """Print the trial; exit with the code of its error."""
    logging.basicConfig(format="%(message)s")
    try:
        print(json.dumps(run(**arguments)))
    except DogbreedError as error:
        logging.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
