"""Every file below a dataset's prefix, and the hashes that name configurations, sources and datasets."""

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

from dogbreed.core.canonical_json import dumps, dumps_with_digest, loads_verified
from dogbreed.core.storage import LocalStore
from dogbreed.data import images
from dogbreed.data.boxes import Box
from dogbreed.data.config import DatasetConfig
from dogbreed.data.examples import Example, read_shard, write_shard
from dogbreed.data.maintenance import to_image_folder
from dogbreed.data.manifest import (
    DuplicatePair,
    Manifest,
    QuarantinedImage,
    Shard,
    Split,
    config_id,
    load_manifest,
)
from dogbreed.data.near_duplicates import find_duplicates
from dogbreed.data.plan import ShardPlan, plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.archive_index import ArchiveIndex, build_index
from dogbreed.data.raw.cifar import LAYOUTS, Cifar
from dogbreed.data.raw.download import write_index
from dogbreed.data.raw.image_folder import ImageFolder
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.shard_files import commit_shard
from dogbreed.data.sharded_work import ShardResult, part_key
from dogbreed.data.splits import hash_order
from tests.golden.images import BLOCKS, DARKER
from tests.golden.literals import assert_json, assert_text, read_literal
from tests.support.other_data import cifar_archive

BREEDS = ("n02085620-Collie", "n02085621-pug")
VERSIONS = {"pillow": "12.0.0", "libjpeg-turbo": "3.1.2", "simplejpeg": "1.8.2", "opencv": "4.12", "imagehash": "4.3.2"}


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same decoders on every machine, as far as hashes know."""
    monkeypatch.setattr(images, "versions", lambda: VERSIONS)


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


def shard(digit: str, records: int) -> Shard:
    return Shard(f"shards/{digit * 64}.tfrecord", digit * 64, 1000 * records, records)


MANIFEST = Manifest(
    format=3,
    config=DatasetConfig(classes=("chihuahua", "pug"), shards=4).to_dict(),
    source_digest="5" * 64,
    versions=VERSIONS,
    classes=("n02085620-Chihuahua", "n02110958-pug"),
    splits={
        "train": Split(3, (shard("a", 2), shard("b", 2))),
        "validation": Split(1, (shard("c", 1),)),
        "test": Split(0, ()),
    },
    quarantine=(QuarantinedImage("n02110958-pug/n02110958_9", "no annotation"),),
    excluded={"not selected": 7, "duplicates of test images": 1},
    duplicates=(
        DuplicatePair("n02085620-Chihuahua/n02085620_1", "n02085620-Chihuahua/n02085620_2", "file"),
        DuplicatePair("n02085620-Chihuahua/n02085620_1", "n02110958-pug/n02110958_3", "near"),
    ),
)
EXAMPLE = Example(
    source_id="n02085620-Chihuahua/n02085620_1#1",
    filename="n02085620_1",
    encoded=b"\xff\xd8 a JPEG \xff\xd9",
    height=64,
    width=96,
    label=119,
    class_name="n02085620-Chihuahua",
    boxes=(Box(0.25, 0, 1, 1), Box(0, 0.5, 0.125, 0.75)),
    original_height=375,
    original_width=500,
    original_box=Box(10, 20.5, 300, 375),
)
NO_BOX = Example("b/2", "2", b"", 1, 1, 0, "b", (), 1, 1, Box(0, 0, 1, 1))


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
        "train", shard("a", 2), 1, (QuarantinedImage("n02110958-pug/n02110958_9", "neither JPEG nor PNG"),)
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
        "configuration": config_id(3, options, "0" * 64, {"pillow": "12.0.0"}),
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
    copies = [DuplicatePair("n02085620-Collie/n02085620_0", "n02085620-Collie/n02085620_1", "near")]
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
    assert [(pair.source_id, pair.other, pair.kind) for pair in copies] == [
        ("c/1", "c/2", "file"),
        ("c/3", "c/4", "near"),
    ]
    folder = f"_parts/{plan.config_id}/"
    assert sorted(store.list()) == [
        folder + name for name in ("duplicates.json", "fingerprints-0.json", "near-pairs-0.json")
    ]
    for name in ("duplicates", "fingerprints-0", "near-pairs-0"):
        assert_text(f"{name}.json", store.read(f"{folder}{name}.json").decode())


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def raw(tmp_path: Path) -> LocalStore:
    """Two photos and an annotation in the published layout, without a split."""
    store, name = LocalStore(tmp_path / "raw"), "n02085620-Chihuahua/n02085620_"
    store.put("images.tar", tar({f"Images/{name}{n}.jpg": b"photo %d" % n for n in (1, 2)}))
    store.put("annotation.tar", tar({f"Annotation/{name}1": b"<annotation/>"}))
    store.put("lists.tar", tar({"file_list.mat": b"not read"}))
    return store


def test_index_of_the_archives(raw: LocalStore) -> None:
    assert_text("members.json", build_index(raw).to_json().decode())
    assert ArchiveIndex.from_json(read_literal("members.json")).to_json() == read_literal("members.json")
    assert write_index(raw, other_checksums=True) == {"raw": raw.uri, "images": 2, "published": False}
    assert raw.read("members.json") == read_literal("members.json")


@pytest.fixture
def photos(tmp_path: Path) -> LocalStore:
    """Two photos in folders by split and breed."""
    store = LocalStore(tmp_path / "photos")
    for key in ("train/pug/1.jpg", "test/pug/2.png"):
        store.put(key, key.encode())
    return store


def test_names_of_photos_in_folders(photos: LocalStore) -> None:
    assert [(photo.source_id, photo.class_name, photo.split) for photo in ImageFolder(photos).images] == [
        ("test/pug/2.png", "pug", "test"),
        ("train/pug/1.jpg", "pug", "train"),
    ]


def test_names_of_cifar_photos(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    packed = cifar_archive("cifar100", per_class=1)
    store.put(LAYOUTS["cifar100"].archive, packed)
    source = Cifar(store, "cifar100")
    assert source.digest == hashlib.sha256(packed).hexdigest()
    assert [(photo.source_id, photo.class_name, photo.split) for photo in source.images[9:11]] == [
        ("train.bin/00009", "class9", "train"),
        ("test.bin/00000", "class0", "test"),
    ]


def features(example: bytes) -> dict[str, dict[str, list[object]]]:
    """Return name -> kind of list -> values, without the suite's own feature specification."""
    found: dict[str, dict[str, list[object]]] = {}
    for name, feature in sorted(tf.train.Example.FromString(example).features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value
        found[name] = {kind: [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]}
    return found


def test_tfrecord_example() -> None:
    assert_json("example.json", features(EXAMPLE.serialize()))


def test_shard_of_two_examples() -> None:
    data = write_shard([EXAMPLE, NO_BOX])
    assert_text("shard.tfrecord.hex", data.hex(" ", 16).replace(" ", "\n") + "\n")
    assert next(read_shard(read_literal("shard.tfrecord"))) == EXAMPLE


def test_exported_photos(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store, target = LocalStore(tmp_path / "data"), LocalStore(tmp_path / "photos")
    found = commit_shard(store, read_literal("shard.tfrecord"), 2)
    manifest = dataclasses.replace(MANIFEST, splits={"train": Split(2, (found,))})
    assert to_image_folder(manifest, store, target, pool) == 2
    assert sorted(target.list()) == [
        "train/b/b_2.jpg",
        "train/n02085620-Chihuahua/n02085620-Chihuahua_n02085620_1#1.jpg",
    ]
    assert target.read("train/n02085620-Chihuahua/n02085620-Chihuahua_n02085620_1#1.jpg") == EXAMPLE.encoded
