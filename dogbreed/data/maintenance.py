"""What is done with a plan or a dataset besides building it: estimate (--dry-run), collect garbage (--gc), export."""

import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import psutil

from dogbreed.core import resources
from dogbreed.core.log import progress
from dogbreed.core.storage import Store, escape_name
from dogbreed.data.builder import make_examples
from dogbreed.data.examples import read_shard, write_shard
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.plan import ShardPlan
from dogbreed.data.raw.census import ReasonSummary
from dogbreed.data.shard_files import read_verified
from dogbreed.data.splits import SPLITS

SAMPLE = 200  # images that are processed for an estimate: a second of work

log = logging.getLogger(__name__)


class Estimate(TypedDict):
    """What a plan comes to on this machine; counts are of images."""

    config_id: str
    shards: int
    splits: dict[str, int]
    quarantined: int  # of the decoded ones, and of those that are known without decoding
    decoded: int  # images that were tried
    excluded: int
    ignored: int  # files that are not used
    ignored_by_reason: dict[str, ReasonSummary]
    ignored_rows_by_reason: dict[str, ReasonSummary]  # of the tables of --labels
    megabytes: float
    seconds: float
    memory_megabytes: int


def estimate(plan: ShardPlan, pool: ThreadPoolExecutor) -> Estimate:
    """Return the counts of the plan, and size, time and memory extrapolated from its first images.

    The search for duplicates is not included; it takes about as long as reading all images.
    """
    sample = plan.images[:SAMPLE]
    start_time = time.perf_counter()
    results = list(pool.map(lambda image: make_examples(plan, image), sample))
    seconds = (time.perf_counter() - start_time) / len(sample)
    unusable = {image.source_id: r for image, r in zip(sample, results, strict=True) if isinstance(r, str)}
    for source_id, reason in unusable.items():
        log.warning("%s cannot be used: %s", source_id, reason)
    examples = [example for result in results if not isinstance(result, str) for example in result]
    image_bytes = len(write_shard(examples)) / len(sample)
    largest = max(len(shard.images) for shard in plan.shards)
    splits = Counter(dict.fromkeys(SPLITS, 0))
    for shard in plan.shards:
        splits[shard.split] += len(shard.images)
    # the examples of a shard, the same once more as the object that is written, and those of the next shard; an image
    # that is being serialized is there three times as well
    memory = psutil.Process().memory_info().rss + 3 * image_bytes * (largest + resources.cores())
    return {
        "config_id": plan.config_id,
        "shards": len(plan.shards),
        "splits": dict(splits),
        "quarantined": len(plan.empty_manifest.quarantine) + len(unusable),
        "decoded": len(sample),
        "excluded": sum(plan.empty_manifest.excluded.values()),
        "ignored": len(plan.source.ignored),
        "ignored_by_reason": plan.source.ignored.summary(),
        "ignored_rows_by_reason": plan.source.ignored.rows_summary(),
        "megabytes": round(image_bytes * len(plan.images) / 1e6, 1),
        "seconds": round(seconds * len(plan.images), 3),
        "memory_megabytes": round(memory / 1e6),
    }


def collect_garbage(store: Store) -> list[str]:
    """Delete shards that the manifest does not name and results of other configurations; return their keys.

    Raises:
        ManifestNotFound: there is no manifest, so that any shard may be part of a dataset that is being built.
    """
    manifest = load_manifest(store)
    named = {shard.key for split in manifest.splits.values() for shard in split.shards}
    named |= {manifest.duplicates.key} if manifest.duplicates else set()
    own = f"_parts/{manifest.config_id}/"
    orphans = [key for prefix in ("shards/", "duplicates/") for key in store.list(prefix) if key not in named]
    orphans += [key for key in store.list("_parts/") if not key.startswith(own)]
    for key in orphans:
        store.delete(key)
    return orphans


def to_image_folder(manifest: Manifest, store: Store, target: Store, pool: ThreadPoolExecutor) -> int:
    """Write every example as `<split>/<class>/<source id>.jpg` and return their number. Idempotent.

    Each of the three is one name (`escape_name`): different examples never share a file, and none leaves the folder.

    Raises:
        DataError: a file of that name with other content exists.
    """
    written = 0
    shards = [(name, shard) for name, split in manifest.splits.items() for shard in split.shards]
    for name, shard in progress(shards, "export", len(shards), unit="shard"):
        examples = list(read_shard(read_verified(store, shard)))
        keys = ["/".join(map(escape_name, (name, e.class_name, f"{e.source_id}.jpg"))) for e in examples]
        written += len(list(pool.map(lambda key, example: target.commit(key, example.encoded), keys, examples)))
    return written
