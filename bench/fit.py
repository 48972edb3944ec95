"""Photos a second of a real training against the same model on one batch that is always there.

What is missing to 1 is what reading, decoding, shuffling and cutting random views cost.
"""

import tempfile
import time
from pathlib import Path

import click
import keras
import tensorflow as tf

from bench.jobs import draw_raw, job
from bench.table import Row, show
from dogbreed.data.dataset import load_manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.platform.storage import FolderStore
from dogbreed.training import batches
from dogbreed.training.recipe import Recipe, override
from dogbreed.training.recipes import named
from dogbreed.training.trainer import compiled
from dogbreed.training.watcher import Clock

FLOOR = 0.92
ROUNDS = 3  # alternated, the best of each counts
STEPS = 160  # a round: an epoch of the 10,528 train photos, so that starting the input counts as it does there


def rate(recipe: Recipe, model: keras.Model, data: tf.data.Dataset) -> float:
    """Return the photos a second of one round."""
    began = time.perf_counter()
    model.fit(data, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return STEPS * recipe.batch_size / (time.perf_counter() - began)


def measure(recipe: Recipe, data: str) -> Row:
    """Train by turns on the real input and on its first batch, which stays in memory."""
    store = FolderStore(Path(data))
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path(data))
    endless = override(recipe, ["epochs=10000"])  # more than will be read
    real = batches.training(endless, pipeline, len(manifest.classes), seed=0)
    cached = tf.data.Dataset.from_tensors(next(iter(real))).repeat()
    real = Clock().timed(real)  # as jobs.train gives them to the model
    model = compiled(recipe, len(manifest.classes), STEPS)
    model.fit(cached, steps_per_epoch=2, shuffle=False, verbose=0)  # traces
    rounds = [(rate(recipe, model, cached), rate(recipe, model, real)) for _ in range(ROUNDS)]
    peer, ours = map(max, zip(*rounds, strict=True))
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
