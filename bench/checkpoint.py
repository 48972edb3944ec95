"""What a checkpoint every minute costs a training: images a second with and without, in one run.

Short stretches of steps are taken by turns, with a checkpoint begun at their first step and without; the median of the
differences is what one checkpoint costs.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import click
import keras
import tensorflow as tf

from bench.table import Row, show
from dogbreed.core.lease import Lease
from dogbreed.core.storage import LocalStore
from dogbreed.training.build import build_and_compile
from dogbreed.training.checkpoint import CheckpointManager, Snapshot
from dogbreed.training.checkpointer import AsyncCheckpointer, CheckpointInterval
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipes import get_recipe
from dogbreed.training.state import TrainState, flatten, get_arrays
from dogbreed.training.steps import MetricSums, make_train_step

FLOOR = 0.98
CLASSES, MINUTE = 120, 60.0
ROUNDS, STEPS = 12, 6


def stretch(
    model: keras.Model,
    step: Callable[[], object],
    sums: MetricSums,
    checkpointer: AsyncCheckpointer | None,
    number: int,
) -> float:
    """Return the seconds of so many steps, with a checkpoint of the first one or without."""
    start = time.perf_counter()
    if checkpointer:
        best = [variable.numpy() for variable in model.weights]
        arrays = get_arrays(model, model.optimizer) | flatten("best", best)
        checkpointer.save(Snapshot(TrainState(global_step=number), arrays, b""))
    for _ in range(STEPS):
        step()
    sums.read()  # waits for the device
    if checkpointer:
        checkpointer.wait_until_finished()
    return time.perf_counter() - start


@click.command()
@click.option("--recipe", default="larger-128", show_default=True, help="Recipe to train, on random images.")
def main(recipe: str) -> None:
    """Print images a second without checkpoints and with one a minute."""
    chosen = get_recipe(recipe)
    images = tf.random.uniform((chosen.batch_size, chosen.size, chosen.size, 3), 0, 256, tf.int32)
    labels = tf.one_hot(tf.range(chosen.batch_size) % CLASSES, CLASSES)
    batches = iter(tf.data.Dataset.from_tensors((tf.cast(images, tf.uint8), labels)).repeat())
    model = build_and_compile(chosen, CLASSES, steps=1000)
    model.optimizer.build(model.trainable_variables)
    sums = MetricSums()
    train_step = make_train_step(model, sums, DistributedContext())
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder) / "checkpoints")
        checkpointer = AsyncCheckpointer(
            CheckpointManager(store, "content", 1), CheckpointInterval(steps=1), Lease(store, "the benchmark")
        )
        measured = partial(stretch, model, lambda: train_step(next(batches)), sums)
        measured(checkpointer, 0)  # traces
        pairs = [(measured(None, 0), measured(checkpointer, number)) for number in range(1, ROUNDS)]
        size = sum(path.stat().st_size for path in Path(folder).rglob("training.npz")) / 3 / 2**20
    without = median(peer for peer, _ in pairs)
    cost = max(0.0, median(ours - peer for peer, ours in pairs))
    rate = STEPS * chosen.batch_size / without
    row = Row(f"{recipe}, {size:.0f} MiB each, {cost:.2f} s each", rate, rate * MINUTE / (MINUTE + cost), FLOOR)
    show("Training with a checkpoint every minute against one without", "images/s", [row])


if __name__ == "__main__":
    main()
