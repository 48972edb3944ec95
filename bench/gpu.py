"""What a GPU does for training: which devices, matrix products, precisions and XLA against float32, real input.

Without a GPU it prints "not run" and measures nothing.
"""

import tempfile
import time
from pathlib import Path

import click
import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from bench.memory import job
from bench.precision import ROUNDS, STEPS
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.training.batches import train_batches
from dogbreed.training.build import build_and_compile
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.workflows.gpu_checks import check_gpus

VARIANTS = {  # name: precision, XLA
    "float32": ("float32", False),
    "float32, XLA": ("float32", True),
    "mixed_float16": ("mixed_float16", False),
    "mixed_float16, XLA": ("mixed_float16", True),
}


def teraflops(dtype: str, side: int) -> float:
    """Return the rate of products of two square matrices, the best of ROUNDS."""
    matrix = tf.ones((side, side), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.cast(tf.linalg.matmul(matrix, matrix)[0], tf.float32)))
    product().numpy()
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        product().numpy()  # waits for the device
        rates.append(2 * side**3 / (time.perf_counter() - began) / 1e12)
    return max(rates)


def model_of(recipe: Recipe, classes: int, xla: bool) -> keras.Model:
    """Return the recipe's compiled model, with or without XLA."""
    model = build_and_compile(recipe, classes, STEPS)
    model.jit_compile = xla
    return model


class Stopwatch(keras.callbacks.Callback):
    """Takes the time of every epoch."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def rate(recipe: Recipe, model: keras.Model, batches: tf.data.Dataset) -> float:
    """Return images/s of training, the best of ROUNDS; the first round, which fills buffers and traces, is left out."""
    watch = Stopwatch()
    model.fit(batches, steps_per_epoch=STEPS, epochs=1 + ROUNDS, callbacks=[watch], shuffle=False, verbose=0)
    return STEPS * recipe.batch_size / min(watch.seconds[1:])


def report(recipe: Recipe, data: str, side: int) -> Table:
    """Return every measurement as a table; the dataset at `data` gives the real input."""
    store = open_store(data)
    manifest = load_manifest(store)
    table = Table("what", "rate", "against float32", title=f"{recipe.name}, batches of {recipe.batch_size}")
    plain = teraflops("float32", side)
    half = teraflops("float16", side)
    table.add_row(f"matmul {side}, float32 (TF32 where there is)", f"{plain:.1f} TFLOP/s", "1.00x")
    table.add_row(f"matmul {side}, float16", f"{half:.1f} TFLOP/s", f"{half / plain:.2f}x")
    shape = (recipe.batch_size, recipe.size, recipe.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = np.eye(len(manifest.classes), dtype=np.float32)[np.arange(recipe.batch_size) % len(manifest.classes)]
    synthetic = tf.data.Dataset.from_tensors((images, labels)).repeat()
    rates = {}
    for name, (precision, xla) in VARIANTS.items():
        own = apply_overrides(recipe, [f"precision={precision}"])
        rates[name] = rate(own, model_of(own, len(manifest.classes), xla), synthetic)
        table.add_row(
            f"synthetic input, {name}", f"{rates[name]:.0f} images/s", f"{rates[name] / rates['float32']:.2f}x"
        )
    with tempfile.TemporaryDirectory() as cache:
        pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path(cache))
        own = apply_overrides(recipe, ["precision=mixed_float16", "epochs=10000"])  # more than will be read
        batches = train_batches(own, pipeline, len(manifest.classes), seed=0)
        real = rate(own, model_of(own, len(manifest.classes), False), batches)
    share = real / rates["mixed_float16"]
    table.add_row("real input, mixed_float16", f"{real:.0f} images/s", f"{share:.2f}x of the synthetic input")
    return table


@click.command()
@click.option("--recipe", default="larger-128", show_default=True, help="Recipe whose model and batch size are used.")
@click.option("--data", help="Dataset of the real input.  [default: sketches, drawn and preprocessed]")
@click.option("--side", default=8192, show_default=True, help="Side of the matrices.")
def main(recipe: str, data: str | None, side: int) -> None:
    """Measure what a GPU does for training; "not run" without one."""
    if not tf.config.list_physical_devices("GPU"):
        click.echo("not run: TensorFlow sees no GPU")
        if Path("/dev/nvidia0").exists():
            click.echo('This machine has one; the image brings the libraries: docs/operations.md, "A GPU host"')
        return
    click.echo(check_gpus(None))
    with tempfile.TemporaryDirectory() as home:
        if data is None:
            raw, data, size = f"{home}/raw", f"{home}/data", str(get_recipe(recipe).size)
            job("fetch", "--source", "synthetic", "--raw", raw, "--per-class", "200")
            job(
                "preprocess", "--source", "synthetic", "--raw", raw, "--out", data, "--size", size,
                MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db",
            )  # fmt: skip
        Console(width=100).print(report(get_recipe(recipe), data, side))


if __name__ == "__main__":
    main()
