"""What a checkpoint every minute costs a training: photos a second with and without, in one run.

Short stretches of steps are taken by turns, with a checkpoint begun at their first step and without; the median of the
differences is what one checkpoint costs.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import click
import keras
import tensorflow as tf

from bench.table import Row, show
from dogbreed.platform.lease import Lease
from dogbreed.platform.storage import FolderStore
from dogbreed.training import state
from dogbreed.training.checkpoint import Checkpoints, Snapshot
from dogbreed.training.course import Course
from dogbreed.training.recipes import named
from dogbreed.training.saver import Every, Saver
from dogbreed.training.trainer import compiled

FLOOR = 0.98
CLASSES, MINUTE = 120, 60.0
ROUNDS, STEPS = 12, 6


def stretch(model: keras.Model, batches: tf.data.Iterator, saver: Saver | None, step: int) -> float:
    """Return the seconds of so many steps, with a checkpoint of the first one or without."""
    began = time.perf_counter()
    if saver:
        best = [variable.numpy() for variable in model.weights]
        saver.save(Snapshot(Course(step=step), state.read(model, model) | state.named("best", best), b""))
    for _ in range(STEPS):
        float(model.train_function(batches)["loss"])
    if saver:
        saver.wait()
    return time.perf_counter() - began


@click.command()
@click.option("--recipe", default="larger-128", show_default=True, help="Recipe to train, on random photos.")
def main(recipe: str) -> None:
    """Print photos a second without checkpoints and with one a minute."""
    chosen = named(recipe)
    photos = tf.random.uniform((chosen.batch_size, chosen.size, chosen.size, 3), 0, 256, tf.int32)
    labels = tf.one_hot(tf.range(chosen.batch_size) % CLASSES, CLASSES)
    batches = iter(tf.data.Dataset.from_tensors((tf.cast(photos, tf.uint8), labels)).repeat())
    model = compiled(chosen, CLASSES, steps=1000)
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder) / "checkpoints")
        saver = Saver(Checkpoints(store, "content", 1), Every(steps=1), Lease(store, "the benchmark"))
        stretch(model, batches, saver, 0)  # traces
        pairs = [
            (stretch(model, batches, None, 0), stretch(model, batches, saver, number)) for number in range(1, ROUNDS)
        ]
        size = sum(path.stat().st_size for path in Path(folder).rglob("training.npz")) / 3 / 2**20
    without = median(peer for peer, _ in pairs)
    cost = max(0.0, median(ours - peer for peer, ours in pairs))
    rate = STEPS * chosen.batch_size / without
    row = Row(f"{recipe}, {size:.0f} MiB each, {cost:.2f} s each", rate, rate * MINUTE / (MINUTE + cost), FLOOR)
    show("Training with a checkpoint every minute against one without", "photos/s", [row])


if __name__ == "__main__":
    main()
