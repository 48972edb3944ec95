"""Records between the search for duplicates and writing: kept within limits, and the shards are the same without."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.data import builder, record_cache
from dogbreed.data import plan as plans
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.plan import ShardPlan, plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.record_cache import RecordCache, open_record_cache
from dogbreed.data.sharded_work import assign_shards
from tests.support.memory_source import NOISE, NoiseSource, complete, contents


def test_records_are_read_as_they_were_added() -> None:
    with open_record_cache(["a"]) as cache:
        cache.add("a/1", [b"one", b"second"])
        cache.add("a/2", "broken image")
        cache.add("a/3", [b""])
        assert cache.read("a/1") == [b"one", b"second"]
        assert cache.read("a/2") == "broken image"
        assert cache.read("a/3") == [b""]
        assert cache.read("a/4") is None
        assert cache.count_missing(["a/1", "a/4", "a/5"]) == 2


def test_records_of_several_threads_do_not_mix(pool: ThreadPoolExecutor) -> None:
    records = {f"a/{number}": [bytes([number]) * (1000 + number)] for number in range(200)}
    with open_record_cache(["a"]) as cache:
        list(pool.map(lambda item: cache.add(*item), records.items()))
        assert {source_id: cache.read(source_id) for source_id in records} == records


def test_what_exceeds_the_limit_is_not_kept_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with open_record_cache(["a"], limit=10) as cache:
        for number in range(4):
            cache.add(f"a/{number}", [b"12345"])
        assert [cache.read(f"a/{number}") for number in range(4)] == [[b"12345"], [b"12345"], None, None]
    assert caplog.text.count("read again") == 1


def test_nothing_is_kept_where_scratch_space_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_cache, "free_scratch", lambda: 100 << 20)
    with open_record_cache(["a"]) as cache:
        cache.add("a/1", [b"12345"])
        assert cache.read("a/1") is None


def test_a_disk_that_is_full_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (tmp_path / "file").open("wb") as file:
        cache = RecordCache(os.open(file.name, os.O_RDONLY), ["a"])  # every write fails
        cache.add("a/1", [b"12345"])
        assert cache.read("a/1") is None
    assert "cannot write" in caplog.text


def plan_and_search(source: NoiseSource, out: LocalStore, pool: ThreadPoolExecutor, cache: RecordCache) -> ShardPlan:
    plan = plan_dataset(source, DatasetConfig(size=32, objects="each", duplicates="keep"))
    return plan.with_duplicates(find_duplicates(plan, out, pool, cache=cache))


@pytest.mark.parametrize("limit", [0, 20_000, 1 << 30])
def test_shards_are_the_same_however_many_records_are_kept(
    limit: int, pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "IMAGES_PER_SHARD", 7)
    source, seen = NoiseSource(n00000001_0=NOISE[:500], n00000002_12=b"no image"), list[str]()
    alone, kept = LocalStore(tmp_path / "alone"), LocalStore(tmp_path / "kept")
    with open_record_cache([], limit) as other_classes:
        plan = plan_and_search(source, alone, pool, other_classes)
        list(builder.write_shards(plan, range(len(plan.shards)), alone, pool, other_classes))
    with open_record_cache(plan.classes, limit) as cache:
        assert plan_and_search(source, kept, pool, cache) == plan
        read = source.read
        monkeypatch.setattr(source, "read", lambda image: seen.append(image.source_id) or read(image))
        list(builder.write_shards(plan, range(len(plan.shards)), kept, pool, cache))
    assert complete(builder.finalize(plan, kept, 1)) == complete(builder.finalize(plan, alone, 1))
    assert contents(kept) == contents(alone)
    assert (len(seen) == 0) == (limit == 1 << 30)
    assert (len(seen) < 40) == (limit > 0)


def test_a_worker_without_an_index_first_writes_the_shards_whose_records_it_has(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "IMAGES_PER_SHARD", 5)
    source, seen = NoiseSource(), list[SourceImage]()
    plan, out = plan_dataset(source, DatasetConfig(size=32)), LocalStore(tmp_path)
    with open_record_cache(plan.classes) as cache:
        for image in plan.shards[6].images:
            cache.add(image.source_id, builder.serialize(builder.make_examples(plan, image)))
        monkeypatch.setattr(source, "read", lambda image: seen.append(image) or NOISE)
        written = builder.write_shards(plan, range(len(plan.shards)), out, pool, cache)
        next(written)
        assert list(out.list("_parts/")) == [plan.part_key(6)]
        written.close()  # type: ignore[attr-defined]


def test_a_worker_that_starts_again_reads_the_images_of_its_shards_again(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "IMAGES_PER_SHARD", 5)
    source, seen, out = NoiseSource(), list[str](), LocalStore(tmp_path)
    plan = plan_dataset(source, DatasetConfig(size=32, duplicates="keep"))
    monkeypatch.setattr(source, "read", lambda image: seen.append(image.source_id) or NOISE)

    def work(index: int) -> list[str]:
        seen.clear()
        with open_record_cache(plan.classes) as cache:
            final = plan.with_duplicates(find_duplicates(plan, out, pool, index, 2, cache))
            list(builder.write_shards(final, assign_shards(final, index, 2), out, pool, cache))
        return sorted(seen)

    every = sorted(image.source_id for image in plan.images)
    assert len(work(0)) == len(every) + 1, "it also looks at the images of the other worker; all files are equal"
    assert sorted(set(seen)) == every
    assert work(1) == sorted(i.source_id for n in assign_shards(plan, 1, 2) for i in plan.shards[n].images)
    assert work(1) == [], "complete shards are not read"
