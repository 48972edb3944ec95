"""A dataset as folders of JPEG files, for tools that read directories."""

from concurrent.futures import ThreadPoolExecutor

from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.examples import read_shard
from dogbreed.data.manifest import Manifest, read_verified


def to_image_folder(manifest: Manifest, store: Store, target: Store, pool: ThreadPoolExecutor) -> int:
    """Write every example as `<split>/<class>/<source id>.jpg` and return their number; twice changes nothing.

    DataError when another file is in the way.
    """
    written = 0
    shards = [(name, shard) for name, split in manifest.splits.items() for shard in split.shards]
    for name, shard in progress(shards, "export", len(shards), unit="shard"):
        examples = list(read_shard(read_verified(store, shard)))
        keys = [f"{name}/{e.class_name}/{e.source_id.replace('/', '_')}.jpg" for e in examples]
        written += len(list(pool.map(lambda key, example: target.commit(key, example.encoded), keys, examples)))
    return written
