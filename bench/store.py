"""Images a second out of a bucket against the same shards on the local disk, and against one object an image.

The bucket is a process of its own that serves files over HTTP, as much of S3 as reading needs, and waits before each
answer. The first epoch includes copying and verifying the shards, the second does not.
"""

import functools
import http.server
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import click
import tensorflow as tf

from bench.jobs import draw_raw, job
from bench.table import Row, show
from dogbreed.core import resources
from dogbreed.core.storage import Store, open_store
from dogbreed.data.augment import Augment
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.splits import TRAIN

SIZE, BATCH = 128, 32
ROUNDS = 6  # each side is the first in every other one; the median of each counts
THREADS = 32  # that fetch one object an image
SAMPLE = 2000  # images that are fetched one by one


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder's files after `latency` seconds each."""

    protocol_version = "HTTP/1.1"
    latency = 0.0

    def do_GET(self) -> None:
        time.sleep(self.latency)
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve(folder: str, latency: float, port: Connection) -> None:
    """Serve until killed; the port goes through the pipe."""
    Handler.latency = latency
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        port.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def bucket(folder: Path, latency: float) -> Iterator[None]:
    """Make s3:// name the folder while the block runs: its first level are buckets."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(str(folder), latency, there), daemon=True)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{here.recv()}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    try:
        with mock.patch.dict(os.environ, variables):
            yield
    finally:
        server.kill()
        server.join()


def epochs(store: Store, manifest: Manifest) -> list[float]:
    """Return images a second of a first epoch, from nothing, and of a second."""
    with tempfile.TemporaryDirectory() as cache:
        rates, began = [], time.perf_counter()
        pipeline = InputPipeline(manifest, store, ResizeSpec(SIZE), BATCH, Path(cache))
        for epoch in range(2):
            batches = iter(pipeline.train_batches(Augment(), seed=epoch, epochs=1))
            images = sum(len(labels) for _, labels in batches)
            rates.append(images / (time.perf_counter() - began))
            del batches  # tf.data sometimes takes 0.3 s to end an iterator, which does not count
            began = time.perf_counter()
    return rates


def alternate(local: Store, remote: Store, manifest: Manifest) -> list[float]:
    """Return the median images a second of first and second epochs, from the disk and from the bucket."""
    rounds: dict[str, list[list[float]]] = {local.uri: [], remote.uri: []}
    epochs(local, manifest)  # loads TensorFlow's kernels and warms the files
    for number in range(ROUNDS):
        for store in (local, remote) if number % 2 else (remote, local):
            rounds[store.uri].append(epochs(store, manifest))
    return [median(found) for store in (local, remote) for found in zip(*rounds[store.uri], strict=True)]


def one_by_one(store: Store, keys: list[str]) -> float:
    """Return images a second of fetching one object an image on many threads, decoding and batching them."""
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        fetched = pool.map(store.read, keys)
        images = tf.data.Dataset.from_generator(lambda: fetched, output_signature=tf.TensorSpec([], tf.string))
        squares = images.map(_square, num_parallel_calls=resources.cores())
        count = sum(len(batch) for batch in squares.batch(BATCH).prefetch(2))
    return count / (time.perf_counter() - began)


def _square(data: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.image.resize(tf.io.decode_jpeg(data, channels=3), (SIZE, SIZE)), tf.uint8)


def measure(home: Path, latency: float, floors: tuple[float, float]) -> list[Row]:
    """Return the rows of one latency."""
    local = open_store(str(home / "bucket" / "data"))
    manifest = load_manifest(local)
    folders = open_store(str(home / "bucket" / "folders" / TRAIN))
    keys = list(folders.list())[:SAMPLE]
    with bucket(home, latency):
        remote, objects = open_store("s3://bucket/data"), open_store(f"s3://bucket/folders/{TRAIN}")
        disk, disk_again, cloud, cloud_again = alternate(local, remote, manifest)
        single = median(one_by_one(objects, keys) for _ in range(3))
    name = f"{latency * 1000:.0f} ms"
    return [
        Row(f"{name}: local disk, first epoch", disk, cloud, floors[0]),
        Row(f"{name}: local disk, second epoch", disk_again, cloud_again, 0.97),
        Row(f"{name}: one object an image, {THREADS} threads", single, cloud, floors[1]),
    ]


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: synthetic]")
def main(raw: str | None) -> None:
    """Print images a second from a bucket, from the local disk and from one object an image."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        raw = raw or draw_raw(home, per_class=200)
        job(
            "preprocess", "--raw", raw, "--out", f"{home}/bucket/data", "--size", str(SIZE), "--resize-mode", "squash",
            "--export", f"{home}/bucket/folders", MLFLOW_TRACKING_URI=f"sqlite:///{scratch}/mlflow.db",
        )  # fmt: skip
        rows = [*measure(home, 0.0, (0.95, 7.0)), *measure(home, 0.03, (0.90, 5.5))]
        show("From a bucket to decoded batches, 128 px", "images/s", rows)


if __name__ == "__main__":
    main()
