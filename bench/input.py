"""Images a second of the training input against other ways to read the same crops.

The crops are JPEGs of at most 224 x 224 (`jobs.preprocess --resize-mode squash`), in shards for ours, exported to
folders for the peers; warm files, batches of 32, nothing but iterating. Core-ms are the processor time of all threads
for each image.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
import tensorflow as tf

from bench import input_peers as peers
from bench.jobs import draw_raw, job
from bench.table import Rate, Row, show
from dogbreed.core.storage import LocalStore
from dogbreed.data.augment import Augment, erase
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.shard_files import cache_shards
from dogbreed.data.splits import TRAIN

SIZE, BATCH = 224, 32
IMAGES = 2000  # of a measurement at least, so that starting an iterator does not count
ROUNDS = 5  # alternated; the median of each counts
FLIP = Augment(hflip=True)
VIEWS = Augment(hflip=True, min_area=0.4, max_aspect=1.3)

Way = Callable[[int], Iterable[Any]]  # the batches of so many epochs


def rate(batches: Iterable[Any]) -> Rate:
    """Return the images a second that come out, and what they cost."""
    began, used, count = time.perf_counter(), time.process_time(), 0
    for images, _ in batches:
        count += len(images)
    return Rate(count / (time.perf_counter() - began), 1000 * (time.process_time() - used) / count)


def again(one_pass: Callable[[], Iterable[Any]]) -> Way:
    """Return a way that repeats `one_pass` for each epoch."""
    return lambda epochs: (batch for _ in range(epochs) for batch in one_pass())


def other_ways(folder: Path, files: list[str], scratch: Path) -> dict[str, Way]:
    """Return the peers; grain where it is installed."""
    keras_folder, records = peers.directory(folder, SIZE, BATCH), peers.tfrecords(files, SIZE, BATCH)
    ways: dict[str, Way] = {
        "image_dataset_from_directory": keras_folder.repeat,
        "a plain TFRecord reader": records.repeat,
        "keras.utils.PyDataset": again(lambda: peers.py_dataset(folder, SIZE, BATCH)),
        "ImageDataGenerator, augmented": again(lambda: peers.generator(folder, SIZE, BATCH)),
    }
    try:
        peers.write_array_record(folder, scratch / "crops.array_record")
        import grain  # noqa: F401

        ways["grain and ArrayRecord"] = again(lambda: peers.grain(scratch / "crops.array_record", SIZE, BATCH))
    except ImportError as error:
        print(f"left out: grain and ArrayRecord ({error}; pip install grain array_record)")
    return ways


def own_ways(pipeline: InputPipeline) -> dict[str, Way]:
    """Return ours by what is done to the images."""
    return {
        "plain": lambda epochs: pipeline.train_batches(Augment(), 0, epochs),
        "evaluation order": lambda epochs: pipeline.eval_batches(TRAIN).repeat(epochs),
        "random crops and flips": lambda epochs: pipeline.train_batches(VIEWS, 0, epochs),
        "--cache memory, flips": lambda epochs: pipeline.train_batches(FLIP, 0, 4 * epochs, "memory"),
        "--cache disk, crops and flips": lambda epochs: pipeline.train_batches(VIEWS, 0, epochs, "disk"),
    }


COMPARED = [  # peer, ours, the least ratio
    ("image_dataset_from_directory", "plain", 1.05),
    ("image_dataset_from_directory", "evaluation order", 1.05),
    ("image_dataset_from_directory", "random crops and flips", 0.6),
    ("image_dataset_from_directory", "--cache memory, flips", 6),
    ("image_dataset_from_directory", "--cache disk, crops and flips", 0.9),
    ("ImageDataGenerator, augmented", "random crops and flips", 11),
    ("a plain TFRecord reader", "plain", None),
    ("keras.utils.PyDataset", "plain", 1.3),
    ("grain and ArrayRecord", "plain", 1.3),
]


def measure(data: Path, folder: Path, scratch: Path) -> list[Row]:
    """Return a row for each comparison."""
    store = LocalStore(data)
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, ResizeSpec(SIZE), BATCH, data)
    files = [str(path) for path in cache_shards(store, manifest.split(TRAIN).shards, data)]
    ways = other_ways(folder, files, scratch) | own_ways(pipeline)
    epochs = -(-IMAGES // manifest.split(TRAIN).num_images)
    rounds: dict[str, list[Rate]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            slow = name == "ImageDataGenerator, augmented"
            found = rate(way(1 if slow else epochs))
            if number:  # the first round warms up
                rounds[name].append(found)
    medians = {name: Rate.median(found) for name, found in rounds.items()}
    return [
        Row(
            f"{peer}; ours: {ours}",
            medians[peer].images,
            medians[ours].images,
            floor,
            medians[peer].core_ms,
            medians[ours].core_ms,
        )
        for peer, ours, floor in COMPARED
        if peer in medians
    ]


def erasing() -> float:
    """Return the images a second of erasing a quarter of the images of batches, the median of the rounds."""
    batch = tf.zeros([BATCH, SIZE, SIZE, 3], tf.uint8)
    batches = tf.data.Dataset.from_tensors(batch).repeat(IMAGES // BATCH).enumerate()
    erased = batches.map(
        lambda number, images: (erase(images, 0.25, tf.stack([number, number])), 0), num_parallel_calls=2
    )
    return float(np.median([rate(erased).images for _ in range(ROUNDS)]))


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: synthetic]")
def main(raw: str | None) -> None:
    """Print images a second of the input pipeline and of other readers."""
    with tempfile.TemporaryDirectory() as scratch:
        data, exported = Path(scratch) / "data", Path(scratch) / "folders"
        raw = raw or draw_raw(Path(scratch), per_class=60)
        job(
            "preprocess", "--raw", raw, "--out", str(data), "--size", str(SIZE),
            "--resize-mode", "squash", "--split", "stratified", "--shards", "8", "--export", str(exported), MLFLOW_TRACKING_URI=f"sqlite:///{scratch}/mlflow.db",
        )  # fmt: skip
        tempfile.tempdir = scratch  # of --cache disk
        show("Training input, 224 px, batches of 32", "images/s", measure(data, exported / TRAIN, Path(scratch)))
        print(f"erasing a quarter of the images: {erasing():,.0f} images/s (at least 20,000)")


if __name__ == "__main__":
    main()
