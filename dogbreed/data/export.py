"""A dataset as folders of JPEG files, for tools that read directories."""

from concurrent.futures import ThreadPoolExecutor

from dogbreed.data.dataset import Manifest, read_verified
from dogbreed.data.records import read_shard
from dogbreed.platform.log import progress
from dogbreed.platform.storage import Store


def export_folders(manifest: Manifest, store: Store, target: Store, pool: ThreadPoolExecutor) -> int:
    """Write every record as `<split>/<breed>/<key>.jpg` and return their number; twice changes nothing.

    DataContradiction when another file is in the way.
    """
    written = 0
    shards = [(name, shard) for name, split in manifest.splits.items() for shard in split.shards]
    for name, shard in progress(shards, "export", len(shards), unit="shard"):
        records = list(read_shard(read_verified(store, shard)))
        keys = [f"{name}/{manifest.classes[r.label]}/{r.key.replace('/', '_')}.jpg" for r in records]
        written += len(list(pool.map(lambda key, record: target.commit(key, record.encoded), keys, records)))
    return written
