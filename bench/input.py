"""Images a second of the training input against Keras' two usual ways to read the same crops from a folder.

The crops are JPEGs of 224 x 224 (`jobs.preprocess --resize-mode squash`), in shards for ours, exported to
folders for the peers; warm files, batches of 32, nothing but iterating.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import keras
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from bench.jobs import draw_raw, job
from bench.table import Row, show
from dogbreed.core.storage import LocalStore
from dogbreed.data.augment import Augment
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.splits import TRAIN

SIZE, BATCH = 224, 32
EPOCHS = 6  # passes a measurement, so that starting an iterator does not count
ROUNDS = 3  # alternated, the best of each counts
VIEWS = Augment(hflip=True, min_area=0.4, max_aspect=1.3)


def rate(batches: Iterable[Any]) -> float:
    """Return the images a second that come out."""
    began, count = time.perf_counter(), 0
    for images, _ in batches:
        count += len(images)
    return count / (time.perf_counter() - began)


def generator(folder: Path, count: int) -> Iterable[Any]:
    """Return one pass of ImageDataGenerator with the augmentation of its tutorials."""
    augmented = ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, width_shift_range=0.2, height_shift_range=0.2, zoom_range=0.2,
        horizontal_flip=True,
    )  # fmt: skip
    flow = augmented.flow_from_directory(folder, target_size=(SIZE, SIZE), batch_size=BATCH)
    return (next(flow) for _ in range(count // BATCH))


def measure(data: Path, folder: Path) -> list[Row]:
    """Return a row for each way to read."""
    store = LocalStore(data)
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, ResizeSpec(SIZE), BATCH, data)
    peer = keras.utils.image_dataset_from_directory(folder, image_size=(SIZE, SIZE), batch_size=BATCH, verbose=False)
    cached = pipeline.train_batches(Augment(), seed=0, epochs=10 * EPOCHS, cache="memory")
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "directory": lambda: peer.repeat(EPOCHS),
        "plain": lambda: pipeline.train_batches(Augment(), seed=0, epochs=EPOCHS),
        "decoded": lambda: cached,
        "generator": lambda: generator(folder, manifest.split(TRAIN).num_images),
        "augmented": lambda: pipeline.train_batches(VIEWS, seed=0, epochs=EPOCHS),
    }
    rounds = [{name: rate(way()) for name, way in ways.items()} for _ in range(ROUNDS)]
    best = {name: max(found[name] for found in rounds) for name in ways}
    return [
        Row("image_dataset_from_directory, ours in uint8", best["directory"], best["plain"], 1.5),
        Row("ImageDataGenerator, ours with random crops and flips", best["generator"], best["augmented"], 8),
        Row("image_dataset_from_directory, ours with --cache memory", best["directory"], best["decoded"], 4),
    ]


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: synthetic]")
def main(raw: str | None) -> None:
    """Print images a second of the input pipeline and of Keras' own ways."""
    with tempfile.TemporaryDirectory() as scratch:
        data, exported = Path(scratch) / "data", Path(scratch) / "folders"
        raw = raw or draw_raw(Path(scratch), per_class=60)
        job(
            "preprocess", "--raw", raw, "--out", str(data), "--size", str(SIZE),
            "--resize-mode", "squash", "--split", "stratified", "--shards", "8", "--export", str(exported), MLFLOW_TRACKING_URI=f"sqlite:///{scratch}/mlflow.db",
        )  # fmt: skip
        show("Training input, 224 px, batches of 32", "images/s", measure(data, exported / TRAIN))


if __name__ == "__main__":
    main()
