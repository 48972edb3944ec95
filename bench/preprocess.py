"""Images a second of preprocessing against the serial Pillow script that one would write by hand.

Both crop the same boxes with the same margin to the same size and quality, from warm files; the script leaves JPEG
files, ours committed shards. Most images in `--raw` may be progressive JPEGs, which take three times as long to decode
as the baseline ones of the published archive, so the same images are also measured after encoding them as baseline.
"""

import io
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import click
import numpy as np
from PIL import Image

from bench.archives import encoded_anew
from bench.jobs import draw_raw
from bench.table import Row, show
from dogbreed.core import resources
from dogbreed.core.storage import LocalStore
from dogbreed.data import builder
from dogbreed.data.boxes import Box, select_boxes
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.examples import read_shard
from dogbreed.data.plan import ShardPlan, plan_dataset
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.record_cache import open_record_cache

ROUNDS = 5  # alternated, the median of each counts
SIZE, MARGIN, QUALITY = 224, 0.1, 95
FLOORS = {"lanczos": 2.0, "area": 4.8, "search": 1.9}  # for baseline JPEGs, on two cores that do nothing else


def serial(folder: Path, boxes: dict[str, Box], out: Path) -> None:
    """Crop every image, one after the other, with Pillow alone."""
    for name, box in boxes.items():
        image = Image.open(folder / name).convert("RGB")
        grown = box.expand(MARGIN).clip(*image.size)
        factor = min(1.0, SIZE / min(grown.width, grown.height))
        shape = (round(grown.width * factor), round(grown.height * factor))
        sides = (grown.left, grown.top, grown.right, grown.bottom)
        image.resize(shape, Image.Resampling.LANCZOS, box=sides).save(out / name, "JPEG", quality=QUALITY)


def threads(folder: Path, boxes: dict[str, Box], out: Path, pool: ThreadPoolExecutor) -> None:
    """The script on as many threads as there are cores: what these cores give together."""
    cores, items = resources.cores(), list(boxes.items())
    list(pool.map(lambda first: serial(folder, dict(items[first::cores]), out), range(cores)))


def ours(plan: ShardPlan, out: Path, pool: ThreadPoolExecutor) -> None:
    """Crop every image and commit the shards, as jobs.preprocess does."""
    list(builder.write_shards(plan, range(len(plan.shards)), LocalStore(out), pool))


def with_search(plan: ShardPlan, out: Path, pool: ThreadPoolExecutor) -> None:
    """The same after the search for near-duplicates, which keeps the crops."""
    with open_record_cache(plan.classes) as cache:
        find_duplicates(plan, LocalStore(out), pool, cache=cache)
        list(builder.write_shards(plan, range(len(plan.shards)), LocalStore(out), pool, cache))


def rate(images: int, work: Callable[[Path], None]) -> tuple[float, float]:
    """Return images a second of one run into a fresh folder, and how many a second of this process' CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        began, cpu_began = time.perf_counter(), time.process_time()
        work(out)
        return images / (time.perf_counter() - began), images / (time.process_time() - cpu_began)


def psnr(plan: ShardPlan, boxes: dict[str, Box], folder: Path, pool: ThreadPoolExecutor) -> float:
    """Return the peak signal-to-noise ratio in dB of our crops against the script's, over all pixels."""
    with tempfile.TemporaryDirectory() as scratch:
        theirs, own = Path(scratch) / "theirs", LocalStore(Path(scratch) / "own")
        theirs.mkdir()
        serial(folder, boxes, theirs)
        list(builder.write_shards(plan, range(len(plan.shards)), own, pool))
        records = [record for key in own.list("shards/") for record in read_shard(own.read(key))]
        errors = []
        for record in records:
            pair = (Image.open(theirs / _file(record.source_id)), Image.open(io.BytesIO(record.encoded)))
            a, b = (np.asarray(image, np.float64) for image in pair)
            errors.append(np.mean((a - b) ** 2))
    return float(10 * np.log10(255**2 / np.mean(errors))) if np.mean(errors) else float("inf")


def _file(key: str) -> str:
    return key.replace("/", "_") + ".jpg"


def measure(raw: Path, pool: ThreadPoolExecutor, floors: Mapping[str, float]) -> tuple[list[Row], list[Row]]:
    """Return rows of images a second, and the same of images a second of CPU time.

    There is a row for each way to resample, one with the search for near-duplicates, one for the script on all cores.
    """
    source = StanfordDogs(LocalStore(raw))
    plans = {
        way: plan_dataset(source, DatasetConfig(size=SIZE, margin=MARGIN, resample=way, split="stratified", shards=4))
        for way in ("lanczos", "area")
    }
    images = plans["lanczos"].images
    boxes = {_file(image.source_id): select_boxes(image.boxes, "largest")[0] for image in images}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for image in images:
            (folder / _file(image.source_id)).write_bytes(source.read(image))
        ways: dict[str, Callable[[Path], None]] = {
            "script": lambda out: serial(folder, boxes, out),
            "threads": lambda out: threads(folder, boxes, out, pool),
            "lanczos": lambda out: ours(plans["lanczos"], out, pool),
            "area": lambda out: ours(plans["area"], out, pool),
            "search": lambda out: with_search(plans["lanczos"], out, pool),
        }
        rounds = [{name: rate(len(images), work) for name, work in ways.items()} for _ in range(ROUNDS)]
        same = {way: psnr(plan, boxes, folder, pool) for way, plan in plans.items()}
    titles = {
        "lanczos": f"Lanczos, {same['lanczos']:.0f} dB against the script's crops",
        "area": f"--resample area, {same['area']:.0f} dB",
        "search": "Lanczos and the search for near-duplicates",
        "threads": "the script itself on a thread a core",
    }
    wall, cpu = ({name: median(found[name][kind] for found in rounds) for name in ways} for kind in (0, 1))
    return (
        [Row(title, wall["script"], wall[name], floors.get(name)) for name, title in titles.items()],
        [Row(title, cpu["script"], cpu[name]) for name, title in titles.items()],
    )


@click.command()
@click.option("--raw", type=click.Path(path_type=Path), help="Folder of raw archives.  [default: synthetic]")
def main(raw: Path | None) -> None:
    """Print images a second of a serial Pillow script and of jobs.preprocess' work on all cores."""
    cores = resources.cores()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(cores) as pool:
        raw = raw or Path(draw_raw(Path(scratch), per_class=30))
        again = Path(scratch) / "baseline"
        again.mkdir()
        found: tuple[tuple[str, Path, dict[str, float]], ...] = (
            (f"images as in {raw.name}", raw, {}),
            ("the same as baseline JPEG", encoded_anew(raw, again), FLOORS),
        )
        for title, folder, floors in found:
            wall, cpu = measure(folder, pool, floors)
            show(f"Preprocessing on {cores} cores, {title}", "images/s", wall)
            show("The same in CPU time, which other programs disturb less", "images/CPU s", cpu)


if __name__ == "__main__":
    main()
