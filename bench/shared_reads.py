"""How often preprocessing reads each image where several workers share the work, the search for duplicates included.

The workers are threads of one process, each with its own source, scratch file and fixed share, as pods with an index
have. Bytes and requests are those of `images.tar` after its index was read; what the workers exchange through `--out`
is not counted.
"""

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from bench.jobs import draw_raw
from dogbreed.core.storage import LocalStore
from dogbreed.data import builder
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.plan import ShardPlan, plan_dataset
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.record_cache import open_record_cache
from dogbreed.data.sharded_work import assign_shards

LIMIT = 1.1  # bytes read for each byte of the images, at most


class CountingStore(LocalStore):
    """A folder that counts what is read in ranges."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.requests = self.bytes = 0
        self._lock = threading.Lock()

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return the range, counted."""
        data = super().read_range(key, offset, length)
        with self._lock:
            self.requests += 1
            self.bytes += len(data)
        return data


def work(plan: ShardPlan, out: LocalStore, index: int, workers: int) -> None:
    """Do what jobs.preprocess does as one of several workers."""
    with ThreadPoolExecutor(2) as pool, open_record_cache(plan.classes) as cache:
        final = plan.with_duplicates(find_duplicates(plan, out, pool, index, workers, cache))
        list(builder.write_shards(final, assign_shards(final, index, workers), out, pool, cache))


def measure(raw: Path, out: Path, workers: int, config: DatasetConfig) -> tuple[float, float]:
    """Return bytes read for each byte of the images, and requests for each image."""
    stores = [CountingStore(raw) for _ in range(workers)]
    plans = [plan_dataset(StanfordDogs(store), config) for store in stores]
    size = sum(len(plans[0].source.read(image)) for image in plans[0].images)
    for store in stores:
        store.requests = store.bytes = 0
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda index: work(plans[index], LocalStore(out), index, workers), range(workers)))
    requests = sum(store.requests for store in stores)
    return sum(store.bytes for store in stores) / size, requests / len(plans[0].images)


@click.command()
@click.option("--raw", type=click.Path(path_type=Path), help="Folder of raw archives.  [default: synthetic]")
@click.option("--workers", default=4, show_default=True)
@click.option("--shards", type=int, help="About so many.  [default: 512 images each]")
def main(raw: Path | None, workers: int, shards: int | None) -> None:
    """Print bytes read for each byte of the images, and requests for each image."""
    with tempfile.TemporaryDirectory() as scratch:
        shards = shards or (None if raw else 4 * workers)
        raw = raw or Path(draw_raw(Path(scratch), per_class=30))
        split = "official" if (raw / "lists.tar").exists() else "stratified"
        config = DatasetConfig(split=split, shards=shards)
        read, requests = measure(raw, Path(scratch) / "out", workers, config)
    missed = " MISSED" if read > LIMIT else ""
    print(f"{workers} workers, {raw.name}: {read:.3f} bytes read for each byte of the images, at most {LIMIT}{missed};")
    print(f"{requests:.3f} requests for each image")


if __name__ == "__main__":
    main()
