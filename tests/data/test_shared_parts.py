"""Parts that workers share: each is computed once, and those of a worker that is dead by another one."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dogbreed.core.canonical_json import dumps_with_digest
from dogbreed.core.errors import CorruptData
from dogbreed.core.storage import LocalStore
from dogbreed.data.sharded_work import WorkPlan
from dogbreed.data.shared_parts import SharedParts
from tests.data.test_sharded_work import PLAN


class Work:
    """Counts the parts that are computed."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.numbers: list[int] = []
        self.seconds = seconds

    def compute(self, number: int) -> dict[str, Any]:
        self.numbers.append(number)
        time.sleep(self.seconds)
        return {"number": number}


def parts_of(out: LocalStore, index: int | None, workers: int = 2) -> SharedParts:
    plan: WorkPlan[str] = PLAN
    return SharedParts(plan, out, index, workers)


def values(contents: list[dict[str, Any]]) -> list[int]:
    return [content["number"] for content in contents]


@pytest.mark.parametrize("index", [None, 0, 1])
def test_a_worker_that_is_alone_computes_all_parts_its_own_first(index: int | None, tmp_path: Path) -> None:
    work = Work()
    assert values(parts_of(LocalStore(tmp_path), index).load_or_compute_all("x", 6, work.compute)) == [*range(6)]
    assert sorted(work.numbers) == [*range(6)]
    if index is not None:
        assert {number % 2 for number in work.numbers[:3]} == {index}


def test_a_worker_computes_the_parts_first_that_it_is_told_are_its_own(tmp_path: Path) -> None:
    work = Work()
    parts_of(LocalStore(tmp_path), 0).load_or_compute_all("x", 6, work.compute, own=[4, 5])
    assert sorted(work.numbers[:2]) == [4, 5]


def test_what_is_there_is_not_computed(tmp_path: Path) -> None:
    out, work = LocalStore(tmp_path), Work()
    parts_of(out, 0).load_or_compute_all("x", 6, Work().compute)
    assert values(parts_of(out, 1).load_or_compute_all("x", 6, work.compute)) == [*range(6)]
    assert work.numbers == []


def test_a_worker_waits_for_parts_that_another_one_is_computing(tmp_path: Path) -> None:
    out = LocalStore(tmp_path)
    works = [Work(0.2), Work(0.2)]
    workers = [
        threading.Thread(target=parts_of(out, index).load_or_compute_all, args=("x", 4, work.compute))
        for index, work in enumerate(works)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(works[0].numbers + works[1].numbers) == [*range(4)], "none is computed twice"


def test_a_part_that_is_damaged_is_reported(tmp_path: Path) -> None:
    out = LocalStore(tmp_path)
    out.put(PLAN.part_key("x-0"), dumps_with_digest({"number": 0})[:-5])
    with pytest.raises(CorruptData, match="x-0"):
        parts_of(out, 0).load_or_compute_all("x", 1, Work().compute)
