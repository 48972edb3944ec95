"""Shard files: named by their content, verified before use, cached once."""

from dataclasses import replace
from pathlib import Path

import pytest

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, EnvironmentUnsupported, NotFound
from dogbreed.core.scratch import SCRATCH_LIMIT, SCRATCH_RESERVE
from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.data.manifest import Shard, load_manifest
from dogbreed.data.shard_files import cache_shards, commit_shard, read_verified

SHARD = Shard("shards/ab.tfrecord", "ab", 10, 3)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_shard_is_named_by_its_content(store: Store) -> None:
    shard = commit_shard(store, b"records", 3)
    assert shard == Shard(f"shards/{sha256_hex(b'records')}.tfrecord", sha256_hex(b"records"), 7, 3)
    assert commit_shard(store, b"records", 3) == shard
    assert list(store.list()) == [shard.key]


def test_a_folders_shards_are_read_where_they_lie(dataset: Path, tmp_path: Path) -> None:
    out = LocalStore(dataset)
    shard = load_manifest(out).split("train").shards[0]
    assert cache_shards(out, [shard], tmp_path / "cache") == [dataset / shard.key]
    assert not (tmp_path / "cache").exists()


def test_a_flipped_bit_in_a_shard_is_noticed(store: Store, tmp_path: Path) -> None:
    shard = commit_shard(LocalStore(tmp_path / "good"), b"r" * 1000, 3)
    damage(tmp_path / "good" / shard.key)
    store.put(shard.key, (tmp_path / "good" / shard.key).read_bytes())
    with pytest.raises(CorruptData, match=shard.key):
        cache_shards(store, [shard], tmp_path / "cache")


@pytest.mark.parametrize("data", [b"r" * 999, b"r" * 1001, b""])
def test_a_shard_of_another_length_is_noticed(store: Store, tmp_path: Path, data: bytes) -> None:
    store.put(SHARD.key, data)
    with pytest.raises(CorruptData):
        cache_shards(store, [replace(SHARD, sha256=sha256_hex(b"r" * 1000), bytes=1000)], tmp_path / "cache")


def test_a_shard_that_is_gone_is_an_error_of_the_data(store: Store, tmp_path: Path) -> None:
    with pytest.raises((CorruptData, NotFound)) as error:
        cache_shards(store, [SHARD], tmp_path / "cache")
    assert error.value.exit_code == 65


def three_shards(store: Store) -> list[Shard]:
    return [commit_shard(store, bytes([number]) * 1000, 1) for number in range(3)]


def test_a_remote_shard_is_copied_once(bucket: str, tmp_path: Path) -> None:
    remote, cache = open_store(bucket + "/data"), tmp_path / "cache"
    shards = three_shards(remote)
    copies = cache_shards(remote, shards, cache)
    assert [path.read_bytes() for path in copies] == [bytes([n]) * 1000 for n in range(3)]
    for shard in shards:
        remote.delete(shard.key)
    assert cache_shards(remote, shards, cache) == copies  # as another process would
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{s.sha256}.tfrecord" for s in shards)


def test_copies_that_the_cache_cannot_hold_are_refused(bucket: str, tmp_path: Path) -> None:
    remote = open_store(bucket + "/data")
    shards = three_shards(remote)
    with pytest.raises(EnvironmentUnsupported, match="0 MiB") as error:
        cache_shards(remote, shards, tmp_path / "cache", limit=2999)
    assert error.value.exit_code == 78
    assert len(cache_shards(remote, shards, tmp_path / "cache", limit=3000)) == 3


def test_copies_that_would_exceed_the_scratch_limit_are_not_begun(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE + 16384))
    remote, cache = open_store(bucket + "/data"), tmp_path / "cache"
    small = three_shards(remote)
    large = commit_shard(remote, bytes(16384), 1)
    with pytest.raises(EnvironmentUnsupported, match=SCRATCH_LIMIT):
        cache_shards(remote, [*small, large], cache)
    assert not cache.exists()
    copies = cache_shards(remote, small, cache)
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE))
    assert cache_shards(remote, small, cache) == copies, "nothing is written"


def test_a_damaged_copy_is_fetched_again(bucket: str, tmp_path: Path) -> None:
    remote, cache = open_store(bucket + "/data"), tmp_path / "cache"
    shards = three_shards(remote)
    copies = cache_shards(remote, shards, cache)
    damage(copies[0])
    assert cache_shards(remote, shards, cache) == copies
    assert copies[0].read_bytes() == read_verified(remote, shards[0])
    assert sorted(cache.iterdir()) == sorted(copies), "no temporary file is left"
