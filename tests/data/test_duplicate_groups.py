"""The object of groups: named by the manifest, verified, made again if it is missing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dogbreed.core.errors import CorruptData
from dogbreed.core.storage import LocalStore
from dogbreed.data import builder
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicatesFile, commit_groups, load_groups
from dogbreed.data.maintenance import collect_garbage
from dogbreed.data.manifest import load_manifest
from dogbreed.data.plan import ShardPlan, plan_dataset
from dogbreed.data.preview import draw_duplicates
from dogbreed.data.sharded_work import load_if_complete
from tests.support.duplicates import FileSource, group, near
from tests.support.encoded_images import encoded

GROUPS = (group("a/0", ("a/1", "file"), ("b/0", "near")), near("b/1", "b/2"))


def with_copies(out: LocalStore, pool: ThreadPoolExecutor) -> ShardPlan:
    """Write a dataset of 30 images of which three are copies, and return its plan."""
    random = np.random.default_rng(0)
    files = {f"a/train/{n}": encoded(random.integers(0, 256, (40, 40, 3), np.uint8)) for n in range(30)}
    plan = plan_dataset(FileSource(files), DatasetConfig(size=32, split="stratified"))
    plan = plan.with_duplicates([group("a/train/0", ("a/train/1", "file"), ("a/train/2", "near"))])
    list(builder.write_shards(plan, range(len(plan.shards)), out, pool))
    builder.finalize(plan, out, 0)
    return plan


def test_the_object_is_named_after_its_content_and_counted_by_kind(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), DuplicatesFile.from_groups(GROUPS)
    commit_groups(store, GROUPS)
    commit_groups(store, GROUPS)
    assert list(store.list()) == [file.key] == [f"duplicates/{file.sha256}.json"]
    assert store.size(file.key) == file.bytes
    assert (file.groups, file.divided, file.members) == (2, 0, {"file": 1, "near": 2})
    assert load_groups(store, file) == GROUPS


def test_without_duplicates_nothing_is_written_or_read(tmp_path: Path) -> None:
    commit_groups(LocalStore(tmp_path), ())
    assert list(LocalStore(tmp_path).list()) == []
    assert load_groups(LocalStore(tmp_path), None) == ()


def test_a_changed_object_is_refused(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), DuplicatesFile.from_groups(GROUPS)
    store.put(file.key, b"{}")
    with pytest.raises(CorruptData, match="differs"):
        load_groups(store, file)


def test_the_manifest_names_the_groups_which_are_no_garbage(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    out = LocalStore(tmp_path)
    plan = with_copies(out, pool)
    other = DuplicatesFile.from_groups(GROUPS)
    commit_groups(out, GROUPS)
    assert collect_garbage(out) == [other.key]
    manifest = load_manifest(out)
    assert load_groups(out, manifest.duplicates) == plan.duplicates
    assert manifest.metrics()["duplicates_file"] == 1


def test_a_dataset_whose_groups_are_missing_is_not_complete(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    out = LocalStore(tmp_path)
    plan = with_copies(out, pool)
    manifest = load_if_complete(plan, out)
    assert manifest is not None
    assert manifest.duplicates is not None
    out.delete(manifest.duplicates.key)
    assert load_if_complete(plan, out) is None
    assert builder.finalize(plan, out, 0) == manifest
    assert load_if_complete(plan, out) == manifest


def test_the_figure_of_duplicates_shows_one_pair_of_each_group_of_different_files(pool: ThreadPoolExecutor) -> None:
    source = FileSource({key: encoded(np.zeros((40, 40, 3), np.uint8)) for key in ("a/0", "a/1", "b/0", "b/1", "b/2")})
    figure = draw_duplicates(source, GROUPS, set())
    assert figure is not None
    assert (np.asarray(figure) < 128).all(2).sum() == 4 * 128 * 128
    assert draw_duplicates(source, [group("a/0", ("a/1", "file"))], set()) is None


def test_the_figure_of_duplicates_leaves_out_quarantined_images() -> None:
    source = FileSource({f"a/{n}": encoded(np.full((20, 20, 3), 60 * n, np.uint8)) for n in range(4)})
    groups = [near("a/0", "a/1"), near("a/2", "a/3")]
    assert draw_duplicates(source, groups, set()) is not None
    assert draw_duplicates(source, groups, {"a/0", "a/3"}) is None
