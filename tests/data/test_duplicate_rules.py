"""What becomes of duplicates: kept in one split, never on both sides of a published list, and never most of a split."""

import logging
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from dogbreed.core.errors import DataError
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.duplicate_warnings import warn_of_duplicates
from dogbreed.data.plan import ShardPlan, plan_dataset
from tests.support.duplicates import FileSource, group, near

SHARES = {"train": 0.72, "validation": 0.08, "test": 0.2}


def plan_of(source_ids: list[str], groups: list[DuplicateGroup], **options: Any) -> ShardPlan:
    """Return the plan of images of which only ids are known: <class>/<published split>/<number>."""
    return plan_dataset(FileSource(dict.fromkeys(source_ids, b"")), DatasetConfig(**options)).with_duplicates(groups)


def splits_of(plan: ShardPlan) -> dict[str, str]:
    return {image.source_id: split for split, images in plan.shards for image in images}


def three_classes() -> list[str]:
    """Return the ids of 3 classes x (20 train + 10 test) images."""
    counts = (("train", 20), ("test", 10))
    return [f"{name}/{split}/{n}" for name in "abc" for split, count in counts for n in range(count)]


def copies(count: int, different: int, classes: str = "abcd") -> tuple[list[str], DuplicateGroup]:
    """Return the ids of so many copies and different images of each class, and the group of all copies."""
    ids = [f"{name}/train/copy_{n:03}" for name in classes for n in range(count)]
    others = [f"{name}/train/{n}" for name in classes for n in range(different)]
    return ids + others, group(ids[0], *((key, "file") for key in ids[1:]))


def test_train_duplicates_of_published_test_images_are_excluded_and_counted() -> None:
    groups = [near("a/test/3", "a/train/5", "b/train/7")]
    plan = plan_of(three_classes(), groups)
    assert {"a/train/5", "b/train/7"} == set(three_classes()) - splits_of(plan).keys()
    assert plan.empty_manifest.excluded == {"duplicates of test images": 2}
    assert plan.duplicates == tuple(groups)


def test_a_published_validation_part_is_kept_clean_too() -> None:
    ids = [f"a/{part}/{n}" for part in ("train", "validation", "test") for n in range(4)]
    groups = [near("a/test/1", "a/validation/1", "a/train/1"), near("a/validation/0", "a/train/0")]
    plan = plan_of(ids, groups)
    assert set(ids) - splits_of(plan).keys() == {"a/train/0", "a/train/1", "a/validation/1"}
    assert plan.empty_manifest.excluded == {"duplicates of test images": 2, "duplicates of validation images": 1}


def test_leaks_can_be_kept() -> None:
    splits = splits_of(plan_of(three_classes(), [near("a/test/3", "a/train/5")], duplicates="keep"))
    assert len(splits) == 90
    assert splits["a/test/3"] == "test"


@pytest.mark.parametrize("mode", ["official", "stratified"])
def test_drop_keeps_the_representative_of_each_group(mode: str) -> None:
    groups = [near("a/test/3", "a/train/5", "b/train/7"), near("c/train/1", "c/train/2")]
    plan = plan_of(three_classes(), groups, duplicates="drop", split=mode)
    assert set(three_classes()) - splits_of(plan).keys() == {"a/train/5", "b/train/7", "c/train/2"}
    assert plan.empty_manifest.excluded == {"duplicates": 3}


@pytest.mark.parametrize("mode", ["official", "stratified"])
@pytest.mark.parametrize("seed", range(5))
def test_duplicates_come_into_the_same_sampled_split(mode: str, seed: int) -> None:
    groups = [near(f"{name}/train/{n}", f"{name}/train/{n + 1}") for name in "bc" for n in range(4, 20, 2)]
    groups += [near("a/train/0", "a/train/1", "b/train/0", "b/train/1")]
    groups += [near("a/train/2", "a/train/3"), near("a/train/4", "a/train/5", chain="a/train/2")]
    splits = splits_of(plan_of(three_classes(), groups, split=mode, seed=seed))
    assert len(splits) == 90
    for chain in {found.chain for found in groups}:
        ids = [key for found in groups if found.chain == chain for key in found.source_ids]
        assert len({splits[key] for key in ids}) == 1
    assert {"train", "validation", "test"} == set(splits.values())


def test_without_duplicates_the_splits_are_what_they_were() -> None:
    assert splits_of(plan_of(three_classes(), [])) == splits_of(
        plan_of(three_classes(), [near("a/test/0", "a/test/1")])
    )


@pytest.mark.parametrize(("count", "different"), [(500, 60), (50, 6), (30, 300), (6, 60)])
def test_one_placeholder_in_all_classes_moves_no_split_off_its_share(count: int, different: int) -> None:
    ids, placeholder = copies(count, different)
    plan = plan_of(ids, [placeholder], split="stratified")
    splits = splits_of(plan)
    counts = Counter(splits.values())
    assert len(splits) == len(ids)
    for name, share in SHARES.items():
        assert counts[name] / len(ids) == pytest.approx(share, abs=0.02)
    for name in "abcd":
        assert Counter(splits[key] for key in ids if key[0] == name)["train"] / (count + different) > 0.6
    assert plan.duplicates[0].divided == (4 * count > max(20, 0.008 * len(ids)))


def test_frames_of_one_class_stay_in_their_order_when_their_group_is_divided() -> None:
    ids = [f"a/train/frame_{n:03}" for n in range(400)] + [f"a/train/other_{n:04}" for n in range(1600)]
    splits = splits_of(plan_of(ids, [near(*ids[:400])], split="stratified"))
    frames = [splits[key] for key in ids[:400]]
    changes = sum(a != b for a, b in pairwise(frames))
    assert set(frames) == {"train", "validation", "test"}
    assert changes <= 24  # of 25 units of 16


def test_a_long_chain_is_divided_into_its_groups() -> None:
    ids = [f"a/train/{n:04}" for n in range(1000)]
    groups = [near(*ids[n : n + 10], chain=ids[0]) for n in range(0, 100, 10)]
    plan = plan_of(ids, groups, split="stratified")
    splits = splits_of(plan)
    assert all(found.divided for found in plan.duplicates)
    assert all(len({splits[key] for key in found.source_ids}) == 1 for found in groups)
    assert len({splits[key] for key in ids[:100]}) > 1


def test_groups_that_leave_a_split_empty_are_refused_by_name() -> None:
    ids = [f"{name}/train/{n}" for name in "abcdef" for n in range(5)]
    with pytest.raises(DataError, match=r"a/train/0.*--duplicates drop"):
        plan_of(ids, [near(*(f"{name}/train/{n}" for n in range(5))) for name in "abcdef"], split="stratified")


def test_a_class_all_images_of_which_are_duplicates_of_others_is_refused_by_name() -> None:
    ids = [*three_classes(), "d/train/0", "d/test/0"]
    for options in ({}, {"split": "stratified", "duplicates": "drop"}):
        with pytest.raises(DataError, match="near-duplicates leave no image of class d"):
            plan_of(ids, [near("a/test/0", "d/test/0", "d/train/0")], **options)


def test_a_published_validation_split_of_duplicates_is_refused() -> None:
    with pytest.raises(DataError, match="validation"):
        plan_of([*three_classes(), "a/validation/0"], [near("a/test/0", "a/validation/0")])


def test_large_groups_divided_chains_and_changes_are_warned_of_by_name(caplog: pytest.LogCaptureFixture) -> None:
    ids, placeholder = copies(500, 60)
    before = plan_of(ids, [], split="stratified", duplicates="drop")
    with caplog.at_level(logging.WARNING):
        warn_of_duplicates(before, before.with_duplicates([placeholder]))
    large, labels, changed = [record.getMessage() for record in caplog.records]
    assert "a/train/copy_000 (2,000 images)" in large
    assert "1 groups of equal images are of several classes" in labels
    assert "train/b 43 instead of 403 images" in changed
    caplog.clear()
    before = plan_of(ids, [], split="stratified")
    with caplog.at_level(logging.WARNING):
        warn_of_duplicates(before, before.with_duplicates([placeholder]))
    large, divided, labels = [record.getMessage() for record in caplog.records]
    assert "--duplicates drop" in large
    assert "different splits: 1 (a/train/copy_000 (2,000 images))" in divided


def test_few_duplicates_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    before = plan_of(three_classes(), [])
    warn_of_duplicates(before, before.with_duplicates([near("a/test/3", "a/train/5")]))
    assert not caplog.records


def test_duplicates_of_several_classes_are_named_equal_ones_as_wrong_labels(caplog: pytest.LogCaptureFixture) -> None:
    before = plan_of(three_classes(), [])
    groups = [
        group("a/test/3", ("a/test/4", "file"), ("b/train/7", "near"), ("c/train/8", "pixels")),
        group("b/train/1", ("c/train/1", "file")),
        near("a/train/5", "a/train/6", "c/train/5"),
        group("a/train/0", ("a/train/1", "file")),
    ]
    warn_of_duplicates(before, before.with_duplicates(groups))
    equal, close, _ = [record.getMessage() for record in caplog.records]
    assert "2 groups of equal images are of several classes" in equal
    assert "delete the wrong copies or correct their labels: a/test/3 and c/train/8, b/train/1 and c/train/1" in equal
    assert "1 groups of near-duplicates are of several classes; check the labels: a/train/5 and c/train/5" in close
