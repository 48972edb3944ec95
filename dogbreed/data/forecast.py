"""What a plan will come to on this machine, without writing anything."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from dogbreed.data.crops import make_examples
from dogbreed.data.examples import write_shard
from dogbreed.data.images import InvalidImage
from dogbreed.data.plan import ShardPlan
from dogbreed.data.splits import SPLITS

SAMPLE = 200  # photos that a forecast is made from: a second of work


def estimate(plan: ShardPlan, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Return shards and photos, and size, time and memory on this machine as the first photos foretell; writes nothing.

    Copies are not looked for, which takes about as long as reading all photos.
    """
    sample = plan.photos[:SAMPLE]
    start_time = time.perf_counter()
    results = list(pool.map(lambda photo: make_examples(plan, photo), sample))
    seconds = (time.perf_counter() - start_time) / len(sample)
    examples = [example for result in results if not isinstance(result, InvalidImage) for example in result]
    image_bytes = len(write_shard(examples)) / len(sample)
    largest = max(len(photos) for _, photos in plan.shards)
    splits = Counter(dict.fromkeys(SPLITS, 0))
    for name, photos in plan.shards:
        splits[name] += len(photos)
    return {
        "config_id": plan.config_id,
        "shards": len(plan.shards),
        "splits": dict(splits),
        "quarantined": len(plan.quarantine),
        "excluded": sum(plan.excluded.values()),
        "megabytes": round(image_bytes * len(plan.photos) / 1e6, 1),
        "seconds": round(seconds * len(plan.photos), 3),
        # the records of a shard, the same once more as the object that is written, and those of the next shard
        "memory_megabytes": round((psutil.Process().memory_info().rss + 3 * image_bytes * largest) / 1e6),
    }
