"""Sharded work: two shards in progress at most, fixed shares for workers, one manifest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dogbreed.core.errors import CorruptData, UsageError
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data import plan as plans
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import Manifest, QuarantinedImage, Split
from dogbreed.data.plan import plan_dataset
from dogbreed.data.sharded_work import (
    PlannedShard,
    ShardOutput,
    WorkPlan,
    assign_shards,
    double_buffer,
    is_complete,
    load_results,
    merge_results,
    process_shards,
    validate_worker_index,
)
from tests.support.memory_source import NoiseSource

EMPTY = Manifest(
    format=3,
    name="dogs",
    config={},
    source_digest="source",
    versions={},
    classes=("a",),
    splits={"train": Split(0, ()), "test": Split(0, ())},
    quarantine=(QuarantinedImage("z", "no annotation"),),
    excluded={"not selected": 2},
    duplicates=None,
)
PLAN = WorkPlan((PlannedShard("train", "ab"), PlannedShard("train", "cd"), PlannedShard("test", "e")), EMPTY)


def test_the_next_item_is_started_before_one_is_finished() -> None:
    events: list[str] = []

    def start(item: str) -> str:
        events.append(f"start {item}")
        return item.upper()

    def finish(item: str, started: str) -> str:
        events.append(f"finish {item}")
        return item + started

    assert list(double_buffer("abc", start, finish)) == ["aA", "bB", "cC"]
    assert events == ["start a", "start b", "finish a", "start c", "finish b", "finish c"]
    assert list(double_buffer("", start, finish)) == []


def process(out: Store, numbers: list[int]) -> Iterator[int]:
    """Write each image's letter; b cannot be used, and no image of test can."""

    def finish(shard: PlannedShard[str], started: str) -> ShardOutput:
        usable = "".join(image for image in shard.images if image not in "be")
        quarantine = tuple(QuarantinedImage(image, "broken") for image in shard.images if image in "be")
        return ShardOutput(started.encode() + usable.encode(), len(usable), len(usable), quarantine)

    return process_shards(PLAN, numbers, out, lambda shard: shard.split, finish)


def test_results_of_several_workers_become_one_manifest(store: Store) -> None:
    assert list(process(store, [2, 0])) == [1, 2]
    assert [is_complete(PLAN, number, store) for number in range(3)] == [True, False, True]
    assert load_results(PLAN, store) is None
    assert list(process(store, [0, 1])) == [0, 2]
    results = load_results(PLAN, store)
    assert results is not None
    manifest = merge_results(PLAN, results)
    assert manifest.config_id == PLAN.config_id
    assert [entry.source_id for entry in manifest.quarantine] == ["b", "e", "z"]
    assert {name: (split.num_images, len(split.shards)) for name, split in manifest.splits.items()} == {
        "train": (3, 2),
        "test": (0, 0),
    }
    assert [store.read(shard.key) for shard in manifest.splits["train"].shards] == [b"traina", b"traincd"]


def test_a_shard_whose_object_is_missing_is_not_complete(store: Store) -> None:
    list(process(store, [0]))
    (key,) = store.list("shards/")
    store.delete(key)
    assert not is_complete(PLAN, 0, store)
    assert list(process(store, [0])) == [2]
    assert is_complete(PLAN, 0, store)


def test_results_that_name_one_shard_twice_are_corrupt(tmp_path: Path) -> None:
    out = LocalStore(tmp_path)
    list(process(out, [0, 1, 2]))
    out.delete(PLAN.part_key(1))
    out.put(PLAN.part_key(1), out.read(PLAN.part_key(0)))
    with pytest.raises(CorruptData, match="same shard"):
        load_results(PLAN, out)


@pytest.mark.parametrize(("index", "workers"), [(-1, 2), (2, 2), (3, 1)])
def test_a_worker_index_outside_the_number_of_workers_is_refused(index: int, workers: int) -> None:
    with pytest.raises(UsageError, match="--workers"):
        validate_worker_index(index, workers)
    validate_worker_index(None, workers)
    validate_worker_index(workers - 1, workers)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "IMAGES_PER_SHARD", 5)


@pytest.mark.usefixtures("small_shards")
def test_the_shares_of_all_workers_are_all_shards_once() -> None:
    plan = plan_dataset(NoiseSource(), DatasetConfig(size=32))
    assert len(plan.shards) == 10  # 27 train in 6, 3 validation in 1, 15 test in 3
    shares = [assign_shards(plan, index, 3) for index in range(3)]
    assert sorted(number for share in shares for number in share) == list(range(10))
    images = [sum(len(plan.shards[number][1]) for number in share) for share in shares]
    assert images == [15, 15, 15]
    assert sorted(assign_shards(plan, None, 3)) == list(range(10))


@pytest.mark.usefixtures("small_shards")
def test_workers_without_shares_take_the_shards_in_different_orders() -> None:
    plan = plan_dataset(NoiseSource(), DatasetConfig(size=32))
    orders = {tuple(assign_shards(plan, None, 3)) for _ in range(20)}
    followers = {order[place + 1] for order in orders for place in range(9) if order[place] == 0}
    assert len(followers) > 1  # in the same order two workers would process every shard twice once they met
