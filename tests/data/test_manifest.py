"""The manifest as a contract, and shards that a reader verifies before it believes them."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dogbreed.core.canonical_json import dumps, loads_verified, sha256_hex
from dogbreed.core.errors import CorruptData, DataError, EnvironmentUnsupported, ManifestNotFound, NotFound, UsageError
from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.data.manifest import (
    FORMAT,
    MANIFEST,
    DuplicatePair,
    Manifest,
    QuarantinedImage,
    Shard,
    ShardResult,
    Split,
    cache_shards,
    commit_shard,
    config_id,
    load_manifest,
)
from dogbreed.data.raw.stanford_dogs import StanfordDogs

SHARD = Shard("shards/ab.tfrecord", "ab", 10, 3)
MANIFEST_OF_TWO = Manifest(
    format=FORMAT,
    config={"size": 32, "crop": "box"},
    source_digest="source",
    versions={"pillow": "12"},
    classes=("n1-A", "n2-B"),
    splits={"train": Split(2, (SHARD, replace(SHARD, num_examples=4))), "test": Split(0, ())},
    quarantine=(QuarantinedImage("n1-A/1", "broken"),),
    excluded={"not selected": 3},
    duplicates=(DuplicatePair("n1-A/2", "n2-B/3", "near"),),
)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_manifest_survives_its_file() -> None:
    again = Manifest.from_json(MANIFEST_OF_TWO.to_json())
    assert again == MANIFEST_OF_TWO
    assert again.to_json() == MANIFEST_OF_TWO.to_json()
    content = loads_verified(MANIFEST_OF_TWO.to_json())
    assert again.digest == MANIFEST_OF_TWO.digest == sha256_hex(dumps(content))
    assert f'"digest": "{again.digest}"'.encode() in MANIFEST_OF_TWO.to_json()


def test_a_manifest_equals_what_is_read_back(
    source: StanfordDogs, preprocess: Callable[..., Manifest | None], tmp_path: Path
) -> None:
    out = LocalStore(tmp_path)
    assert preprocess(source, out, classes=("Inkpot_terrier",)) == load_manifest(out)


def test_a_part_survives_its_file() -> None:
    for part in (ShardResult("train", SHARD, 3), ShardResult("test", None, 0, (QuarantinedImage("n1-A/1", "broken"),))):
        assert ShardResult.from_json(part.to_json()) == part


OTHER_CONTENT = {
    "format": FORMAT + 1,
    "source_digest": "other",
    "config": {"size": 33, "crop": "box"},
    "versions": {"pillow": "13"},
    "classes": ("n2-B", "n1-A"),
    "splits": {},
    "quarantine": (),
    "excluded": {},
    "duplicates": (),
}
ASKED_FOR = ("format", "source_digest", "config", "versions")  # known before any photo is read


def test_the_digest_follows_every_content() -> None:
    assert set(OTHER_CONTENT) == {field.name for field in fields(Manifest)}
    others = [replace(MANIFEST_OF_TWO, **{name: value}) for name, value in OTHER_CONTENT.items()]
    assert len({manifest.digest for manifest in [MANIFEST_OF_TWO, *others]}) == 1 + len(OTHER_CONTENT)


def test_the_configuration_is_what_was_asked_for_and_known_before_the_photos() -> None:
    known = config_id(FORMAT, {"crop": "box", "size": 32}, "source", {"pillow": "12"})
    assert len(known) == 16
    ids = {"": known}
    for name, value in OTHER_CONTENT.items():
        ids[name] = replace(MANIFEST_OF_TWO, **{name: value}).config_id
    assert {name for name, found in ids.items() if found != known} == set(ASKED_FOR)
    assert len(set(ids.values())) == 1 + len(ASKED_FOR)


def test_a_split_counts_photos_and_records_apart() -> None:
    assert MANIFEST_OF_TWO.split("train").num_images == 2
    assert MANIFEST_OF_TWO.split("train").num_examples == 7
    with pytest.raises(UsageError, match="no split 'valid' in the dataset; it has train, test"):
        MANIFEST_OF_TWO.split("valid")


def test_a_split_without_photos_contradicts_whoever_needs_some() -> None:
    assert MANIFEST_OF_TWO.require_nonempty("train") == MANIFEST_OF_TWO.split("train")
    with pytest.raises(DataError, match="no test images"):
        MANIFEST_OF_TWO.require_nonempty("test")


def test_without_manifest_the_job_that_writes_it_is_named(store: Store) -> None:
    with pytest.raises(ManifestNotFound, match=r"holds no manifest\.json; run jobs\.preprocess --out") as error:
        load_manifest(store)
    assert error.value.exit_code == 75


@pytest.mark.parametrize(
    "data",
    [
        MANIFEST_OF_TWO.to_json()[:-20],
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"7",
        b"{}",
        MANIFEST_OF_TWO.to_json().replace(b'"num_images"', b'"photos"'),
        json.dumps({**json.loads(MANIFEST_OF_TWO.to_json()), "splits": []}).encode(),
        json.dumps({**json.loads(MANIFEST_OF_TWO.to_json()), "more": 1}).encode(),
    ],
    ids=["cut", "empty", "no-utf8", "list", "null", "number", "object", "no-photos", "splits-list", "more"],
)
def test_a_damaged_manifest_is_damaged_data(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(CorruptData, match="write to another --out") as error:
        load_manifest(LocalStore(tmp_path))
    assert error.value.exit_code == 65


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1, "predictions 1"], ids=["older", "newer", "rows"])
def test_a_manifest_of_another_format_contradicts_and_says_what_to_do(tmp_path: Path, other: int | str) -> None:
    (tmp_path / MANIFEST).write_bytes(json.dumps({"format": other, "fields": "that are not known here"}).encode())
    with pytest.raises(DataError, match=f"has format {other}, this version reads {FORMAT} .*preprocess") as error:
        load_manifest(LocalStore(tmp_path))
    assert not isinstance(error.value, CorruptData), "a whole file of another version"
    assert error.value.exit_code == 65


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
    with pytest.raises(CorruptData, match=f"{shard.key} is not what manifest.json says"):
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
    with pytest.raises(EnvironmentUnsupported, match="have 0 MiB, the local cache may take 0 MiB") as error:
        cache_shards(remote, shards, tmp_path / "cache", limit=2999)
    assert error.value.exit_code == 78
    assert len(cache_shards(remote, shards, tmp_path / "cache", limit=3000)) == 3


def test_a_damaged_copy_is_not_believed(bucket: str, tmp_path: Path) -> None:
    remote, cache = open_store(bucket + "/data"), tmp_path / "cache"
    shards = three_shards(remote)
    damage(cache_shards(remote, shards, cache)[0])
    with pytest.raises(CorruptData, match=str(cache)):
        cache_shards(remote, shards, cache)
