"""Images a second of a training step in one precision against the same step in float32, on one cached batch."""

import time

import click
import keras
import numpy as np
import tensorflow as tf

from dogbreed.training.build import build_and_compile
from dogbreed.training.recipe import PRECISIONS, Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe

STEPS = 20
ROUNDS = 3  # alternated, the best of each counts


def images_per_second(recipe: Recipe, model: keras.Model, batch: tf.data.Dataset) -> float:
    """Return the rate of STEPS training steps."""
    began = time.perf_counter()
    model.fit(batch, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return STEPS * recipe.batch_size / (time.perf_counter() - began)


@click.command()
@click.option("--recipe", default="larger-128", show_default=True, help="Recipe whose model and batch size are used.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="mixed_bfloat16", show_default=True)
def main(recipe: str, precision: str) -> None:
    """Print images/s in both precisions and the ratio."""
    recipes = [apply_overrides(get_recipe(recipe), [f"precision={name}"]) for name in ("float32", precision)]
    models = [build_and_compile(own, classes=120, steps=STEPS) for own in recipes]
    size, count = recipes[0].size, recipes[0].batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    batch = tf.data.Dataset.from_tensors((images, np.eye(120, dtype=np.float32)[np.arange(count) % 120])).repeat()
    for own, model in zip(recipes, models, strict=True):
        images_per_second(own, model, batch)  # traces and warms up
    rounds = [[images_per_second(own, m, batch) for own, m in zip(recipes, models, strict=True)] for _ in range(ROUNDS)]
    plain, other = map(max, zip(*rounds, strict=True))
    click.echo(f"{recipe}: float32 {plain:.0f} images/s, {precision} {other:.0f} images/s: {other / plain:.2f}x")


if __name__ == "__main__":
    main()
