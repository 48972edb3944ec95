"""The manifest: what it holds, what is read back, what is refused."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dogbreed.core.canonical_json import dumps, loads_verified, sha256_hex
from dogbreed.core.errors import CorruptData, DataError, ManifestNotFound, UsageError
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data.duplicate_groups import DuplicatesFile
from dogbreed.data.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    QuarantinedImage,
    Shard,
    Split,
    config_id,
    load_manifest,
)
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.sharded_work import ShardResult
from tests.support.duplicates import near

SHARD = Shard("shards/ab.tfrecord", "ab", 10, 3)
MANIFEST_OF_TWO = Manifest(
    format=FORMAT,
    name="dogs",
    config={"size": 32, "crop": "box"},
    source_digest="source",
    versions={"pillow": "12"},
    classes=("n1-A", "n2-B"),
    splits={"train": Split(2, (SHARD, replace(SHARD, num_examples=4))), "test": Split(0, ())},
    quarantine=(QuarantinedImage("n1-A/1", "broken"),),
    excluded={"not selected": 3},
    duplicates=DuplicatesFile.from_groups([near("n1-A/2", "n2-B/3")]),
)


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
    "name": "cats",
    "source_digest": "other",
    "config": {"size": 33, "crop": "box"},
    "versions": {"pillow": "13"},
    "classes": ("n2-B", "n1-A"),
    "splits": {},
    "quarantine": (),
    "excluded": {},
    "duplicates": None,
}
ASKED_FOR = ("format", "name", "source_digest", "config", "versions")  # known before any photo is read


def test_the_digest_follows_every_content() -> None:
    assert set(OTHER_CONTENT) == {field.name for field in fields(Manifest)}
    others = [replace(MANIFEST_OF_TWO, **{name: value}) for name, value in OTHER_CONTENT.items()]
    assert len({manifest.digest for manifest in [MANIFEST_OF_TWO, *others]}) == 1 + len(OTHER_CONTENT)


def test_the_configuration_is_what_was_asked_for_and_known_before_the_photos() -> None:
    known = config_id(FORMAT, "dogs", {"crop": "box", "size": 32}, "source", {"pillow": "12"})
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
    with pytest.raises(CorruptData, match="another --out") as error:
        load_manifest(LocalStore(tmp_path))
    assert error.value.exit_code == 65


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a\\b", "a\0b", ""])
@pytest.mark.parametrize("place", ["class", "split", "shard"])
def test_a_manifest_with_a_name_that_could_leave_a_folder_is_refused(tmp_path: Path, place: str, name: str) -> None:
    split = MANIFEST_OF_TWO.splits["train"]
    hostile = {
        "class": replace(MANIFEST_OF_TWO, classes=("n1-A", name)),
        "split": replace(MANIFEST_OF_TWO, splits={name: split}),
        "shard": replace(MANIFEST_OF_TWO, splits={"train": replace(split, shards=(replace(SHARD, key=name),))}),
    }[place]
    (tmp_path / MANIFEST).write_bytes(hostile.to_json())
    with pytest.raises(CorruptData, match=f"the {place}") as error:
        load_manifest(LocalStore(tmp_path))
    assert error.value.exit_code == 65


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1, "predictions 1"], ids=["older", "newer", "rows"])
def test_a_manifest_of_another_format_contradicts_and_says_what_to_do(tmp_path: Path, other: int | str) -> None:
    (tmp_path / MANIFEST).write_bytes(json.dumps({"format": other, "fields": "that are not known here"}).encode())
    with pytest.raises(DataError, match=f"has format {other}, this version reads {FORMAT};.*preprocess") as error:
        load_manifest(LocalStore(tmp_path))
    assert not isinstance(error.value, CorruptData), "a whole file of another version"
    assert error.value.exit_code == 65


@pytest.mark.parametrize("name", ["../../x", "", "a/b", 7, None])
def test_a_manifest_whose_name_would_leave_a_folder_is_corrupt(name: object, tmp_path: Path) -> None:
    LocalStore(tmp_path).put("manifest.json", replace(MANIFEST_OF_TWO, name=name).to_json())
    with pytest.raises(CorruptData):
        load_manifest(LocalStore(tmp_path))
