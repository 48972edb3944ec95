"""TFRecord examples, shards of them, and the files that they are exported to."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from dogbreed.core.storage import LocalStore
from dogbreed.data.examples import read_shard, write_shard
from dogbreed.data.maintenance import to_image_folder
from dogbreed.data.manifest import Split
from dogbreed.data.shard_files import commit_shard
from tests.support.golden.datasets import EXAMPLE, MANIFEST, NO_BOX
from tests.support.golden.literals import assert_json, assert_text, read_literal


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
        "train/b/b%2F2.jpg",
        "train/n02085620-Chihuahua/n02085620-Chihuahua%2Fn02085620_1#1.jpg",
    ]
    assert target.read("train/n02085620-Chihuahua/n02085620-Chihuahua%2Fn02085620_1#1.jpg") == EXAMPLE.encoded
