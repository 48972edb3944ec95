"""Photos a second of a real training against the same model on one batch that is always there.

What is missing to 1 is what reading, decoding, shuffling and cutting random views cost. The middle of many short rounds
counts, because a machine that others use as well changes its speed by a fifth within minutes.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import tensorflow as tf

from bench.jobs import draw_raw, job
from bench.table import Row, show
from dogbreed.data.dataset import load_manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.split import TRAIN
from dogbreed.platform.storage import FolderStore
from dogbreed.training import batches
from dogbreed.training.recipe import Recipe, override
from dogbreed.training.recipes import named
from dogbreed.training.trainer import compiled
from dogbreed.training.watcher import Clock

FLOOR = 0.92
ROUNDS, STEPS = 15, 40  # alternated; steps of a round: what the input holds ready meanwhile is a tenth of them at most


def rate(recipe: Recipe, step: Callable[[], dict[str, tf.Tensor]]) -> float:
    """Return the photos a second of one round; the loss of each step is looked at, as jobs.train does."""
    began = time.perf_counter()
    for _ in range(STEPS):
        float(step()["loss"])
    return STEPS * recipe.batch_size / (time.perf_counter() - began)


def measure(recipe: Recipe, data: str) -> Row:
    """Train by turns on the real input, which goes on where it was, and on its first batch, which stays in memory."""
    store = FolderStore(Path(data))
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path(data))
    endless = override(recipe, ["epochs=10000"])  # more than will be read
    real = batches.training(endless, pipeline, len(manifest.classes), seed=0)
    cached = tf.data.Dataset.from_tensors(next(iter(real))).repeat()
    model = compiled(recipe, len(manifest.classes), pipeline.steps(TRAIN))
    model.make_train_function()
    # the peer's batches in Keras' own function, and ours as jobs.train gives them to it
    ways = [partial(model.train_function, iter(way)) for way in (cached, Clock().timed(real))]
    for way in ways:
        way()  # traces
    rounds = np.array([[rate(recipe, way) for way in ways] for _ in range(ROUNDS)])
    peer, ours = np.median(rounds, axis=0)
    return Row(f"{recipe.name}, batches of {recipe.batch_size}", peer, ours, FLOOR)


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: draw sketches]")
@click.option("--recipe", default="simple-64", show_default=True, help="Recipe to train.")
@click.option("--size", default=64, show_default=True, help="Shorter side of the crops in pixels.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of the recipe.")
def main(raw: str | None, recipe: str, size: int, settings: tuple[str, ...]) -> None:
    """Print photos a second of a training on real input and on one cached batch."""
    with tempfile.TemporaryDirectory() as home:
        raw = raw or draw_raw(Path(home), per_breed=100)
        tracking = f"sqlite:///{home}/mlflow.db"
        job("preprocess", "--raw", raw, "--out", f"{home}/data", "--size", str(size), MLFLOW_TRACKING_URI=tracking)
        row = measure(override(named(recipe), settings), f"{home}/data")
        show("Training against the same model on one cached batch", "photos/s", [row])


if __name__ == "__main__":
    main()
