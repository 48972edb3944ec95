"""What abandoned configurations have left in a dataset's prefix."""

from dogbreed.core.storage import Store
from dogbreed.data.manifest import load_manifest


def collect(store: Store) -> list[str]:
    """Delete shards that the manifest does not name and parts of other configurations; return their keys.

    ManifestNotFound where there is none: what is not named yet may be about to be.
    """
    manifest = load_manifest(store)
    named = {shard.key for split in manifest.splits.values() for shard in split.shards}
    own = f"_parts/{manifest.config_id}/"
    orphans = [key for key in store.list("shards/") if key not in named]
    orphans += [key for key in store.list("_parts/") if not key.startswith(own)]
    for key in orphans:
        store.delete(key)
    return orphans
