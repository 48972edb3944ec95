"""The manifest and the parts of a dataset, and the hashes that name configurations, sources and datasets."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dogbreed.core.canonical_json import dumps, dumps_with_digest, loads_verified
from dogbreed.core.storage import LocalStore
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicatesFile, commit_groups, load_groups
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.manifest import (
    Manifest,
    QuarantinedImage,
    Shard,
    config_id,
    load_manifest,
)
from dogbreed.data.plan import ShardPlan, plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.image_folder import ImageFolder
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.shard_files import commit_shard
from dogbreed.data.sharded_work import ShardResult, part_key
from dogbreed.data.splits import hash_order
from tests.support.duplicates import group, near
from tests.support.golden.datasets import EXAMPLE, MANIFEST, shard
from tests.support.golden.images import BLOCKS, DARKER
from tests.support.golden.literals import assert_json, assert_text, read_literal

BREEDS = ("n02085620-Collie", "n02085621-pug")


class FixedSource:
    """Forty photos of two breeds, of which 16 are published as test."""

    digest = "5" * 64

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._files = files or {}
        names = [f"{breed}/{breed.partition('-')[0]}_{n}" for breed in BREEDS for n in range(20)]
        self.images: Sequence[SourceImage] = [
            SourceImage(key, key.split("/")[0], "test" if n % 20 >= 12 else "train") for n, key in enumerate(names)
        ]
        if files:
            self.images = [SourceImage(key, "n02085620-Chihuahua", "train") for key in files]

    def read(self, photo: SourceImage) -> bytes:
        return self._files[photo.source_id]


def test_canonical_json_and_its_digest() -> None:
    content = {"b": [1, 2.5, None, "é", True], "a": {"z": {}, "y": []}}
    assert_text("canonical.json", dumps_with_digest(content).decode())
    assert loads_verified(read_literal("canonical.json")) == content
    assert dumps([1e-05, 0.1 + 0.2, "\n"]) == b'[\n 1e-05,\n 0.30000000000000004,\n "\\n"\n]'


def test_manifest() -> None:
    assert_text("manifest.json", MANIFEST.to_json().decode())
    assert Manifest.from_json(read_literal("manifest.json")) == MANIFEST


def test_a_manifest_is_read_below_its_name_and_a_shard_lies_below_its_hash(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("manifest.json", read_literal("manifest.json"))
    assert load_manifest(store) == MANIFEST
    digest = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"  # of "0"
    assert commit_shard(store, b"0", 3) == Shard(f"shards/{digest}.tfrecord", digest, 1, 3)
    assert store.read(f"shards/{digest}.tfrecord") == b"0"


def test_what_summary_and_run_say_of_a_manifest() -> None:
    assert_json("manifest-summary.json", {"summary": MANIFEST.summary(), "metrics": MANIFEST.metrics()})


def test_part() -> None:
    full = ShardResult(
        "train", shard("a", 2), 1, (QuarantinedImage("n02110958-pug/n02110958_9", "not an image of a known format"),)
    )
    empty = ShardResult("test", None, 0)
    for name, part in (("part.json", full), ("part-empty.json", empty)):
        assert_text(name, part.to_json().decode())
        assert ShardResult.from_json(read_literal(name)) == part
    assert part_key("0123456789abcdef", 7) == "_parts/0123456789abcdef/7.json"


def test_options_of_a_dataset() -> None:
    assert_json("dataset-options.json", DatasetConfig().to_dict())


def test_hashes(raw: LocalStore, photos: LocalStore) -> None:
    options = json.loads(read_literal("dataset-options.json"))
    # names come in any order and with or without their WordNet id
    some = DatasetConfig(size=64, crop="defer", classes=("n02085621-pug", "Collie"), per_class=3)
    found = {
        "manifest, digest": MANIFEST.digest,
        "manifest, configuration": MANIFEST.config_id,
        "configuration": config_id(3, "dogbreed", options, "0" * 64, {"pillow": "12.0.0"}),
        "plan, default options": plan_dataset(FixedSource(), DatasetConfig()).config_id,
        "plan, some options": plan_dataset(FixedSource(), some).config_id,
        "rank of a/1": hash_order("a/1"),
        "rank of a/1, seed 7": hash_order("a/1", seed=7),
        "source, Stanford Dogs": StanfordDogs(raw).digest,
        "source, image folder": ImageFolder(photos).digest,
        "example": hashlib.sha256(EXAMPLE.serialize()).hexdigest(),
    }
    assert_json("dataset-hashes.json", found)


def planned(plan: ShardPlan) -> list[list[str]]:
    """Return split and photos of each shard, without the folders of the breeds."""
    return [[split, " ".join(photo.source_id.split("/")[1] for photo in photos)] for split, photos in plan.shards]


def test_splits_and_shards() -> None:
    copies = [near("n02085620-Collie/n02085620_0", "n02085620-Collie/n02085620_1")]
    asked = {
        "official": DatasetConfig(shards=4),
        "official, seed 1": DatasetConfig(seed=1, shards=4),
        "stratified": DatasetConfig(split="stratified", shards=4),
        "three of a breed": DatasetConfig(per_class=3),
    }
    plans = {
        name: planned(plan_dataset(FixedSource(), options).with_duplicates(copies)) for name, options in asked.items()
    }
    assert_json("splits.json", plans)


def test_files_of_the_search_for_copies(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    files = {"c/1": b"no photo", "c/2": b"no photo", "c/3": BLOCKS, "c/4": DARKER}
    plan, store = plan_dataset(FixedSource(files), DatasetConfig()), LocalStore(tmp_path)
    copies = find_duplicates(plan, store, pool)
    assert copies == [group("c/1", ("c/2", "file")), near("c/3", "c/4")]
    folder = f"_parts/{plan.config_id}/"
    names = [f"{kind}-{part}-0" for kind in ("approximate", "exact") for part in ("fingerprints", "links")]
    assert sorted(store.list()) == sorted(f"{folder}{name}.json" for name in (*names, "duplicates"))
    for name in (*names, "duplicates"):
        assert_text(f"{name}.json", store.read(f"{folder}{name}.json").decode())


def test_groups_of_duplicates_lie_below_their_hash(tmp_path: Path) -> None:
    store, groups = LocalStore(tmp_path), (group("c/1", ("c/2", "file")), near("c/3", "c/4"))
    commit_groups(store, groups)
    (key,) = store.list()
    assert_text("duplicate-groups.json", store.read(key).decode())
    assert key == f"duplicates/{hashlib.sha256(read_literal('duplicate-groups.json')).hexdigest()}.json"
    assert load_groups(store, DuplicatesFile.from_groups(groups)) == groups
