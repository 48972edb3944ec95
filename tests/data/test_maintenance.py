"""Dry run, garbage collection and export."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dogbreed.core.errors import DataError, ManifestNotFound
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data import builder
from dogbreed.data.boxes import Box
from dogbreed.data.config import DatasetConfig
from dogbreed.data.examples import Example, write_shard
from dogbreed.data.maintenance import collect_garbage, estimate, to_image_folder
from dogbreed.data.manifest import FORMAT, Manifest, Split, load_manifest
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import open_source
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.shard_files import commit_shard
from tests.support.memory_source import NOISE, complete, read_examples

Preprocess = Callable[..., Manifest | None]


ROOT = Path(__file__).parents[2]


def test_a_dataset_is_exported_as_folders_that_are_a_source_again(
    dataset: Path, pool: ThreadPoolExecutor, store: Store
) -> None:
    manifest = load_manifest(LocalStore(dataset))
    assert to_image_folder(manifest, LocalStore(dataset), store, pool) == 48
    before = list(store.list())
    assert to_image_folder(manifest, LocalStore(dataset), store, pool) == 48
    assert list(store.list()) == before
    again = open_source("image-folder", store)
    assert Counter(image.split for image in again.images) == {n: s.num_images for n, s in manifest.splits.items()}
    assert {image.class_name for image in again.images} == set(manifest.classes)
    store.delete(before[0])
    store.put(before[0], b"other")
    with pytest.raises(DataError, match="other content"):
        to_image_folder(manifest, LocalStore(dataset), store, pool)


def test_no_export_leaves_its_folder_and_none_shares_a_file(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """The names in the shards are what a hostile dataset says; the manifest of the same shards is in order."""
    names = [("a", "x/y"), ("a", "x_y"), ("a", "../../../x"), ("../../../x", "1"), ("..", "1"), ("", ".1"), ("/", "1")]
    examples = [
        Example(source_id, "1.jpg", NOISE, 60, 80, 0, class_name, (), 60, 80, Box(0, 0, 80, 60))
        for class_name, source_id in names
    ]
    store, target = LocalStore(tmp_path / "dataset"), LocalStore(tmp_path / "a" / "b" / "export")
    shard = commit_shard(store, write_shard(examples[:5] + examples[6:]), 6)
    manifest = Manifest(FORMAT, "dogs", {}, "", {}, ("a",), {"train": Split(6, (shard,))}, (), {}, None)
    assert to_image_folder(manifest, store, target, pool) == 6
    assert len(list(target.list())) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "dataset"]
    assert sorted(target.list("train/a/")) == ["train/a/%2E.%2F..%2F..%2Fx.jpg", "train/a/x%2Fy.jpg", "train/a/x_y.jpg"]
    nameless = commit_shard(store, write_shard(examples[5:6]), 1)
    with pytest.raises(DataError, match="is empty"):
        to_image_folder(replace(manifest, splits={"train": Split(1, (nameless,))}), store, target, pool)


def test_an_estimate_is_near_the_result_and_writes_nothing(
    dataset: Path, source: StanfordDogs, pool: ThreadPoolExecutor
) -> None:
    manifest = load_manifest(LocalStore(dataset))
    found = estimate(plan_dataset(source, DatasetConfig(size=32)), pool)
    assert found["shards"] == sum(len(split.shards) for split in manifest.splits.values())
    assert found["splits"] == {name: split.num_images for name, split in manifest.splits.items()}
    actual = sum(shard.bytes for split in manifest.splits.values() for shard in split.shards)
    assert found["megabytes"] == pytest.approx(actual / 1e6, rel=0.1, abs=0.1)
    assert found["seconds"] > 0


MEMORY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy, psutil
from dogbreed.data import builder, images, maintenance
from dogbreed.data.config import DatasetConfig
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.census import Ignored
from dogbreed.core.storage import LocalStore

class Source:
    digest, data = "memory", images.encode(numpy.zeros((32, 32, 3), "uint8"))
    images = [SourceImage(f"a/{number}", "a", "train") for number in range(40)]
    ignored = Ignored()
    def read(self, photo): return self.data

plan = plan_dataset(Source(), DatasetConfig(size=32, shards=3))
images.encode = lambda pixels: b"x" * (4 << 20)  # so heavy that shards outweigh libraries
maintenance.SAMPLE = 4  # and a sample is light beside a shard, as it is with real photos
def peak():  # of this program; getrusage also counts what forked it
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

with ThreadPoolExecutor(2) as pool:
    before = psutil.Process().memory_info().rss
    list(builder.write_shards(plan, range(len(plan.shards)), LocalStore(Path(sys.argv[1])), pool))
    print(peak() - before)
    before = psutil.Process().memory_info().rss
    print(1e6 * maintenance.estimate(plan, pool)["memory_megabytes"] - before)
"""


def test_the_estimated_memory_is_what_making_the_shards_takes(tmp_path: Path) -> None:
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}  # TensorFlow without Keras, as in jobs.preprocess
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    complete = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert complete.returncode == 0, complete.stderr
    taken, foretold = map(float, complete.stdout.split())
    assert taken > 100e6, "two shards of 12 images of 4 MB"
    assert 0.8 * taken < foretold < 1.5 * taken  # measured: 0.96


def test_garbage_is_what_no_manifest_names(source: StanfordDogs, preprocess: Preprocess, store: Store) -> None:
    abandoned = plan_dataset(source, DatasetConfig(size=24))
    with ThreadPoolExecutor(1) as pool:
        list(builder.write_shards(abandoned, [0], store, pool))
    with pytest.raises(ManifestNotFound):
        collect_garbage(store)
    assert len(list(store.list())) == 2, "nothing is deleted while anything may still be named"
    complete(preprocess(source, store))
    named = set(store.list())
    orphans = collect_garbage(store)
    assert sorted(key.split("/")[0] for key in orphans) == ["_parts", "shards"]
    assert set(store.list()) == named - set(orphans)
    assert collect_garbage(store) == []
    assert complete(preprocess(source, store)).digest == load_manifest(store).digest
    assert read_examples(store, load_manifest(store), "test")
