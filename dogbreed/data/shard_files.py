"""Shard files: written under their own SHA-256, verified whenever they are read, cached on local disk."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dogbreed.core import scratch
from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, EnvironmentUnsupported
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.manifest import MANIFEST, Shard

DOWNLOADS = 8  # shards at a time, each in memory
CACHE_LIMIT = 20 << 30  # bytes: forty times the whole dataset at 224 px, half of a small node's disk


def commit_shard(store: Store, data: bytes, num_examples: int, suffix: str = "tfrecord") -> Shard:
    """Write a shard under its own SHA-256 and return its entry."""
    digest = sha256_hex(data)
    shard = Shard(f"shards/{digest}.{suffix}", digest, len(data), num_examples)
    store.commit(shard.key, data)
    return shard


def read_verified(store: Store, shard: Shard) -> bytes:
    """Return a shard's bytes; CorruptData if they differ from the manifest."""
    data = store.read(shard.key)
    _verify(store.uri_of(shard.key), shard, data)
    return data


def cache_shards(store: Store, shards: Sequence[Shard], cache: Path, limit: int = CACHE_LIMIT) -> list[Path]:
    """Return a verified local file for each shard: the file itself if `store` is a folder, else a copy in `cache`.

    Raises:
        EnvironmentUnsupported: the copies would have more than `limit` bytes, or than the scratch folder may hold.
        CorruptData: a shard differs from the manifest.
    """
    needed = 0 if store.local_path("") else sum(shard.bytes for shard in shards)
    if needed > limit:
        raise EnvironmentUnsupported(
            f"the shards at {store.uri} have {needed >> 20} MiB, the limit of the local cache is {limit >> 20} MiB; "
            "preprocess at a smaller --size or with fewer images"
        )
    check_cache_space(store, shards, cache)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = pool.map(lambda shard: _cache_shard(store, shard, cache), shards)
        return list(progress(paths, "verify", len(shards), unit="shard"))


def check_cache_space(store: Store, shards: Sequence[Shard], cache: Path) -> None:
    """Raise an error of `scratch.check_free_scratch` where the copies that `cache` lacks would not fit into it."""
    lacking = [] if store.local_path("") else [shard for shard in shards if not _copy_of(shard, cache).exists()]
    if lacking:
        needed = sum(shard.bytes for shard in lacking)
        scratch.check_free_scratch(needed, f"local copies of the shards at {store.uri}", cache)


def _cache_shard(store: Store, shard: Shard, cache: Path) -> Path:
    own = store.local_path(shard.key)
    if own:
        _verify(str(own), shard, own.read_bytes() if own.is_file() else b"")
        return own
    copy = _copy_of(shard, cache)
    if not (copy.is_file() and _is_intact(shard, copy.read_bytes())):
        _write_copy(copy, read_verified(store, shard))
    return copy


def _write_copy(path: Path, data: bytes) -> None:
    """Write a local copy; without waiting for the disk, because one that a crash tears is fetched again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_of(shard: Shard, cache: Path) -> Path:
    return cache / f"{shard.sha256}.tfrecord"


def _verify(where: str, shard: Shard, data: bytes) -> None:
    if not _is_intact(shard, data):
        raise CorruptData(f"{where} differs from {MANIFEST}; delete it and run jobs.preprocess again")


def _is_intact(shard: Shard, data: bytes) -> bool:
    return len(data) == shard.bytes and sha256_hex(data) == shard.sha256
