"""A few steps of a training with one batch size, as a process of its own: what exhausts memory may end the process.

`python -m dogbreed.workflows.batch_size_trial JSON` prints the `Trial` as JSON, or exits with 78 where it does not fit.
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import tensorflow as tf

from dogbreed.core import rendezvous, resources
from dogbreed.core.errors import DogbreedError
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.training import finetune, memory_estimate
from dogbreed.training.build import build_model, compile_model
from dogbreed.training.optimizer import adamw
from dogbreed.training.out_of_memory import translating_out_of_memory
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import recipe_for_weights
from dogbreed.training.steps import Evaluator, MetricSums, make_train_step
from dogbreed.training.strategy import resolve_strategy

STEPS = 5  # after the first, which traces and compiles


class Trial(TypedDict):
    """What a batch size takes."""

    batch_size: int
    images_per_second: float
    peak_gib: float  # of the fullest GPU, or of the process on a CPU


def run(data: str, recipe: str, weights: str | None, settings: list[str], strategy: str) -> Trial:
    """Take a few steps on random images, and evaluate some.

    Raises:
        EnvironmentUnsupported: host or GPU have too little memory.
    """
    chosen = apply_overrides(recipe_for_weights(recipe, weights), settings)
    distribution = resolve_strategy(strategy, rendezvous.cluster_from_env(), chosen)
    distribution.check(chosen)
    distribution.join()
    store = open_store(data)
    manifest = load_manifest(store)
    with tempfile.TemporaryDirectory() as folder, translating_out_of_memory(chosen.batch_size):
        pipeline = InputPipeline(manifest, store, chosen.view, chosen.batch_size, Path(folder))
        with distribution.scope():
            model = build_model(chosen, len(manifest.classes))
        memory_estimate.check(memory_estimate.estimate(model, chosen, pipeline), chosen)
        if chosen.weights != "none":
            finetune.freeze_below(model, chosen.trainable_fraction)
        with distribution.scope():
            compile_model(model, chosen, adamw(chosen, 1, {}))
            model.optimizer.build(model.trainable_variables)
            sums = MetricSums()
        batches = random_batches(chosen, len(manifest.classes))
        step, iterator = make_train_step(model, sums, distribution), distribution.iterate(batches, chosen.batch_size)
        step(next(iterator))
        sums.read()
        began = time.monotonic()
        for _ in range(STEPS):
            step(next(iterator))
        sums.read()
        rate = STEPS * chosen.batch_size / (time.monotonic() - began)
        Evaluator(model, model, distribution).evaluate(batches.take(1))
    return {"batch_size": chosen.batch_size, "images_per_second": rate, "peak_gib": _peak() / resources.GIB}


def random_batches(recipe: Recipe, classes: int) -> tf.data.Dataset:
    """Return the same batch again and again: uint8 images of noise, one-hot labels."""
    shape = (recipe.batch_size, recipe.size, recipe.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = np.eye(classes, dtype=np.float32)[np.arange(recipe.batch_size) % classes]
    return tf.data.Dataset.from_tensors((images, labels)).repeat()


def _peak() -> int:
    """Return the bytes of the fullest GPU, or of this process where there is none."""
    gpus = [f"GPU:{number}" for number, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    peaks = [tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in gpus]
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
