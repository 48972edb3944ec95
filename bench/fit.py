"""Images a second of a real training against the same model in Keras' own train function on one cached batch.

What is missing to 1 is what reading, decoding, shuffling, cutting random views and the loop cost. The middle of many
short rounds counts, because a machine that others use as well changes its speed by a fifth within minutes.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import keras
import numpy as np
import tensorflow as tf

from bench.jobs import draw_raw, job
from bench.table import Row, show
from dogbreed.core.storage import LocalStore
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.splits import TRAIN
from dogbreed.training.batches import train_batches
from dogbreed.training.build import build_and_compile
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.progress import count_input_wait
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.training.state import TrainState
from dogbreed.training.steps import MetricSums, make_train_step

FLOOR = 0.94
Way = tuple[Callable[[], object], Callable[[], object]]  # a step, and a read of the loss

ROUNDS, STEPS = 15, 40  # alternated; steps of a round: what the input holds ready meanwhile is a tenth of them at most


def rate(recipe: Recipe, step: Callable[[], object], loss: Callable[[], object]) -> float:
    """Return the images a second of one round, at whose end the loss is read."""
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    loss()
    return STEPS * recipe.batch_size / (time.perf_counter() - start)


def measure(recipe: Recipe, data: str) -> Row:
    """Train by turns on the real input, which goes on where it was, and on its first batch, which stays in memory."""
    store = LocalStore(Path(data))
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path(data))
    endless = apply_overrides(recipe, ["epochs=10000"])  # more than will be read
    real = train_batches(endless, pipeline, len(manifest.classes), seed=0)
    cached = tf.data.Dataset.from_tensors(next(iter(real))).repeat()
    models = [build_and_compile(recipe, len(manifest.classes), pipeline.steps_per_epoch(TRAIN)) for _ in range(2)]
    ways = [keras_way(models[0], cached), own_way(models[1], real)]
    for step, _ in ways:
        step()  # traces
    rounds = np.array([[rate(recipe, *way) for way in ways] for _ in range(ROUNDS)])
    peer, ours = np.median(rounds, axis=0)
    return Row(f"{recipe.name}, batches of {recipe.batch_size}", peer, ours, FLOOR)


def keras_way(model: keras.Model, batches: tf.data.Dataset) -> Way:
    """Return a step of Keras' own train function, with the metrics that jobs.train has."""
    metrics = [keras.metrics.CategoricalAccuracy(name="top1"), keras.metrics.TopKCategoricalAccuracy(5, name="top5")]
    model.compile(model.optimizer, model.loss, metrics=metrics, jit_compile=model.jit_compile)
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    return partial(model.train_function, iter(batches)), lambda: float(model.get_metrics_result()["loss"])


def own_way(model: keras.Model, batches: tf.data.Dataset) -> Way:
    """Return a step as jobs.train takes it."""
    sums, distribution, state = MetricSums(), DistributedContext(), TrainState()
    model.optimizer.build(model.trainable_variables)
    train_step, timed = make_train_step(model, sums, distribution), count_input_wait(iter(batches), state)
    return lambda: train_step(next(timed)), sums.read


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: synthetic]")
@click.option("--recipe", default="simple-64", show_default=True, help="Recipe to train.")
@click.option("--size", default=64, show_default=True, help="Shorter side of the crops in pixels.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of the recipe.")
def main(raw: str | None, recipe: str, size: int, settings: tuple[str, ...]) -> None:
    """Print images a second of a training on real input and on one cached batch."""
    with tempfile.TemporaryDirectory() as home:
        raw = raw or draw_raw(Path(home), per_class=100)
        tracking = f"sqlite:///{home}/mlflow.db"
        job("preprocess", "--raw", raw, "--out", f"{home}/data", "--size", str(size), MLFLOW_TRACKING_URI=tracking)
        row = measure(apply_overrides(get_recipe(recipe), settings), f"{home}/data")
        show("Training against the same model on one cached batch", "images/s", [row])


if __name__ == "__main__":
    main()
