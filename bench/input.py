"""Images a second of the training input against other ways to read the same crops.

The crops are JPEGs of at most 224 x 224 (`jobs.preprocess --resize-mode squash`), in shards for ours, exported to
folders for the peers, each several times so that a pass is long enough to measure; warm files, batches of 32, nothing
but iterating. Core-ms are the processor time of all threads for each image.
"""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
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
from dogbreed.data.manifest import Split, load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.shard_files import cache_shards
from dogbreed.data.splits import TRAIN

SIZE, BATCH = 224, 32
IMAGES = 2000  # of a pass at least
BATCHES = 250  # of a measurement
SLOW_BATCHES = 10  # of ImageDataGenerator
ROUNDS = 9  # alternated; the median of each counts
EPOCHS = 1000  # more than are read
GENERATOR = "ImageDataGenerator, augmented"
FLIP = Augment(hflip=True)
VIEWS = Augment(hflip=True, min_area=0.4, max_aspect=1.3)
COLOUR = replace(VIEWS, brightness=0.4, contrast=0.4, saturation=0.4)
TRIVIAL = replace(VIEWS, trivial_augment=True)

Way = Callable[[], Iterable[Any]]  # endless batches


def rate(batches: Iterable[Any], count: int) -> Rate:
    """Return the images a second of `count` batches after the first, and what they cost.

    Neither starting nor ending counts: tf.data sometimes takes 0.3 s to end an iterator, whoever made it. What begins
    anew in each of the four passes that this takes counts, as in a training.
    """
    iterator = iter(batches)
    next(iterator)
    began, used = time.perf_counter(), time.process_time()
    images = sum(len(images) for images, _ in itertools.islice(iterator, count))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    return Rate(images / seconds, 1000 * cpu_seconds / images)


def again(one_pass: Callable[[], Iterable[Any]]) -> Way:
    """Return a way that repeats `one_pass`."""
    return lambda: (batch for _ in itertools.count() for batch in one_pass())


def copy_folder(folder: Path, copies: int) -> Path:
    """Return a folder with so many links to each image of a folder for each class."""
    target = folder.with_name("copies")
    for image in folder.rglob("*.jpg"):
        place = target / image.parent.relative_to(folder)
        place.mkdir(parents=True, exist_ok=True)
        for number in range(copies):
            (place / f"{image.stem}-{number}.jpg").hardlink_to(image)
    return target


def other_ways(folder: Path, copies: int, files: list[str], scratch: Path) -> dict[str, Way]:
    """Return the peers; grain where it is installed."""
    images = copy_folder(folder, copies)
    ways: dict[str, Way] = {
        "image_dataset_from_directory": peers.directory(images, SIZE, BATCH).repeat,
        "a plain TFRecord reader": peers.tfrecords(files * copies, SIZE, BATCH).repeat,
        "keras.utils.PyDataset": again(lambda: peers.py_dataset(images, SIZE, BATCH)),
        GENERATOR: again(lambda: peers.generator(folder, SIZE, BATCH)),
    }
    try:
        peers.write_array_record(images, scratch / "crops.array_record")
        import grain  # noqa: F401

        ways["grain and ArrayRecord"] = again(lambda: peers.grain(scratch / "crops.array_record", SIZE, BATCH))
    except ImportError as error:
        print(f"left out: grain and ArrayRecord ({error}; pip install grain array_record)")
    return ways


def own_ways(pipeline: InputPipeline) -> dict[str, Way]:
    """Return ours by what is done to the images."""
    return {
        "plain": lambda: pipeline.train_batches(Augment(), 0, EPOCHS),
        "evaluation order": lambda: pipeline.eval_batches(TRAIN).repeat(),
        "random crops and flips": lambda: pipeline.train_batches(VIEWS, 0, EPOCHS),
        "random crops, flips, colour": lambda: pipeline.train_batches(COLOUR, 0, EPOCHS),
        "random crops, flips, TrivialAugment": lambda: pipeline.train_batches(TRIVIAL, 0, EPOCHS),
        "--cache memory, flips": lambda: pipeline.train_batches(FLIP, 0, EPOCHS, "memory"),
        "--cache disk, crops and flips": lambda: pipeline.train_batches(VIEWS, 0, EPOCHS, "disk"),
    }


COMPARED = [  # peer, ours, the least ratio
    ("image_dataset_from_directory", "plain", 1.05),
    ("image_dataset_from_directory", "evaluation order", 1.05),
    ("image_dataset_from_directory", "random crops and flips", 0.6),
    ("image_dataset_from_directory", "random crops, flips, colour", None),
    ("image_dataset_from_directory", "random crops, flips, TrivialAugment", None),
    ("image_dataset_from_directory", "--cache memory, flips", 6),
    ("image_dataset_from_directory", "--cache disk, crops and flips", 0.9),
    (GENERATOR, "random crops and flips", 11),
    ("a plain TFRecord reader", "plain", None),
    ("keras.utils.PyDataset", "plain", 1.3),
    ("grain and ArrayRecord", "plain", 1.3),
]


def measure(data: Path, folder: Path, scratch: Path) -> list[Row]:
    """Return a row for each comparison."""
    store = LocalStore(data)
    manifest = load_manifest(store)
    train = manifest.split(TRAIN)
    files = [str(path) for path in cache_shards(store, train.shards, data)]
    copies = -(-IMAGES // train.num_images)
    copied = replace(manifest, splits={TRAIN: Split(copies * train.num_images, copies * train.shards)})
    pipeline = InputPipeline(copied, store, ResizeSpec(SIZE), BATCH, data)
    ways = other_ways(folder, copies, files, scratch) | own_ways(pipeline)
    rounds: dict[str, list[Rate]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            found = rate(way(), SLOW_BATCHES if name == GENERATOR else BATCHES)
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
    batches = tf.data.Dataset.from_tensors(batch).repeat().enumerate()
    erased = batches.map(
        lambda number, images: (erase(images, 0.25, tf.stack([number, number])), 0), num_parallel_calls=2
    )
    return float(np.median([rate(erased, BATCHES).images for _ in range(ROUNDS)]))


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
        os.environ["TMPDIR"] = scratch  # of --cache disk
        show("Training input, 224 px, batches of 32", "images/s", measure(data, exported / TRAIN, Path(scratch)))
        print(f"erasing a quarter of the images: {erasing():,.0f} images/s (at least 20,000)")


if __name__ == "__main__":
    main()
