"""How many preprocessing workers a dataset wants: the rates of one core, and what they come to for larger datasets.

By turns one worker pinned to one core makes a dataset, and two workers pinned to a core each, with a fixed share each;
the ratio of their best times says how well work is shared. Requests are counted at an S3 server. The table multiplies:
a worker has two cores as in k8s/jobs/preprocess, and its store answers as fast as it is asked.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from math import ceil
from pathlib import Path

import boto3
import click
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from rich.console import Console
from rich.table import Table

from bench.archives import encoded_anew
from bench.jobs import draw_raw, job
from dogbreed.core.storage import open_store
from dogbreed.data.near_duplicates import HashTable, near_links
from dogbreed.data.raw import open_source

SIZE, CORES = 224, 2  # pixels; cores of a worker
IMAGES, WORKERS = (20_580, 1_281_167, 14_197_122), (4, 16, 64)  # Stanford Dogs, ImageNet-1k, all of ImageNet
ROUNDS = 3  # alternated, the best of each counts
FLOOR = 0.55  # two workers' time as a share of one's, at most
COMPARED = 20_000  # images, of which all pairs are compared to find the rate
# a second below one prefix, at least: docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
GETS = 5_500
REQUEST = re.compile(r"(GET|PUT) /")


def as_large(raw: str, home: Path, factor: float) -> str:
    """Return archives with larger images, as jobs.fetch leaves them; 2.5 gives the published images' size."""
    if factor == 1:
        return raw
    large = home / "large"
    large.mkdir()
    encoded_anew(Path(raw), large, factor)
    job("fetch", "--from", str(large), "--raw", f"{home}/fetched", "--allow-other-checksums")
    shutil.rmtree(large)
    return f"{home}/fetched"


def seconds(raw: str, home: Path, workers: int, number: int) -> float:
    """Return how long so many workers take, each on a core of its own; `number` names the dataset and its run."""
    out = home / f"dataset-{number}"
    # a seed of its own gives a run of its own in MLflow, with all its pictures
    options = ("--raw", raw, "--out", str(out), "--size", str(SIZE), "--seed", str(number), "--workers", str(workers))
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db"}
    began = time.perf_counter()
    pinned = []
    for index in range(workers):
        command = ["taskset", "--cpu-list", str(index), sys.executable, "-m", "jobs.preprocess", *options]
        command += ["--worker-index", str(index)]
        pinned.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment))
    if any(worker.wait() for worker in pinned):
        raise click.ClickException("a worker has failed; its message stands above")
    took = time.perf_counter() - began
    shutil.rmtree(out)
    return took


def requests_per_image() -> dict[str, float]:
    """Return how many GET and PUT requests an image costs, all that is asked once included."""
    counted: Counter[str] = Counter()
    log = logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.Handler()
    handler.emit = lambda record: counted.update(REQUEST.findall(record.getMessage()))  # type: ignore[method-assign]
    log.addHandler(handler)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", "http://{}:{}".format(*server.get_host_and_port()))
        for name, value in {"ACCESS_KEY_ID": "b", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        boto3.client("s3").create_bucket(Bucket="bench")
        job("fetch", "--source", "synthetic", "--raw", "s3://bench/raw")
        counted.clear()
        made = job("preprocess", "--raw", "s3://bench/raw", "--out", "s3://bench/out", "--size", str(SIZE))
    server.stop()
    return {method: counted[method] / sum(made["splits"].values()) for method in ("GET", "PUT")}


def pairs_per_second() -> float:
    """Return how many pairs of hashes are compared a second, on one core; random ones, so no image is read."""
    phash, dhash = np.random.default_rng(0).integers(0, 2**63, (2, COMPARED), np.uint64)
    hashes = HashTable([f"{number}" for number in range(COMPARED)], phash, dhash, np.zeros(COMPARED, np.uint8))
    with ThreadPoolExecutor(1) as one:
        began = time.perf_counter()
        near_links(hashes, range(COMPARED), one)
    return COMPARED**2 / 2 / (time.perf_counter() - began)


@click.command()
@click.option("--raw", help="Folder of archives as of jobs.fetch.  [default: sketches are drawn]")
@click.option("--per-class", default=2058, show_default=True, help="Sketches of each of ten breeds.")
@click.option("--enlarge", default=2.5, show_default=True, help="Factor of the images' sides; 1: as they are.")
def main(raw: str | None, per_class: int, enlarge: float) -> None:
    """Print the ratio of two workers to one, the rates, and the table of docs/kubernetes.md."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        raw = as_large(raw or draw_raw(home, per_class), home, enlarge)
        images, pairs = len(open_source("stanford-dogs", open_store(raw)).images), pairs_per_second()
        rounds = [(seconds(raw, home, 1, 2 * n), seconds(raw, home, 2, 2 * n + 1)) for n in range(ROUNDS)]
    one, two = map(min, zip(*rounds, strict=True))
    rate, asked = images / one, requests_per_image()
    print(f"{images:,} images, a core each: one worker {one:.1f} s, two workers {two:.1f} s, {two / one:.2f} of it")
    print(f"(at most {FLOOR}){' MISSED' if two / one > FLOOR else ''}; {rate:.0f} images/s a core at {SIZE} px")
    print(f"{asked['GET']:.2f} GET and {asked['PUT']:.3f} PUT an image; {pairs / 1e6:,.0f} million pairs/s compared\n")
    show(rate, asked, pairs)


def show(rate: float, asked: dict[str, float], pairs: float) -> None:
    """Print time (hours:minutes:seconds) and requests by images and workers."""
    table = Table("images", "workers", "read and crop", "compare", "GET/s", "PUT/s", "S3 prefix", title_justify="left")
    for images in IMAGES:
        for workers in WORKERS:
            a_second = rate * CORES * workers
            cropping, comparing = images / a_second, images**2 / 2 / (pairs * CORES * workers)
            took = [str(timedelta(seconds=ceil(needed))) for needed in (cropping, comparing)]
            gets, puts = a_second * asked["GET"], a_second * asked["PUT"]
            fits = "within" if gets <= GETS else f"{gets / GETS:.1f}x its limit"
            table.add_row(f"{images:,}", str(workers), *took, f"{gets:,.0f}", f"{puts:,.1f}", fits)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
