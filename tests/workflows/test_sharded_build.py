"""The course that preprocess and predict share: load what is complete, or build this worker's shards and finalize."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import MANIFEST, Manifest, Split
from dogbreed.data.sharded_work import PlannedShard, ShardOutput, WorkPlan, load_results, merge_results, process_shards
from dogbreed.workflows.sharded_build import BuildResult, Worker, load_or_build

EMPTY = Manifest(3, "dogs", {}, "source", {}, ("a",), {"train": Split(0, ())}, (), {}, None)
PLAN = WorkPlan(tuple(PlannedShard("train", letter) for letter in "abcd"), EMPTY)


class Build:
    """Builds shards of one letter each and remembers what it was asked for."""

    def __init__(self, out: Path) -> None:
        self.out, self.events = LocalStore(out), list[str]()

    def prepare(self, plan: WorkPlan[str]) -> WorkPlan[str]:
        self.events.append("prepare")
        return plan

    def write_shards(self, plan: WorkPlan[str], numbers: Sequence[int]) -> Iterator[int]:
        def start(shard: PlannedShard[str]) -> str:
            self.events.append(str(shard.images))
            return str(shard.images)

        def finish(shard: PlannedShard[str], started: str) -> ShardOutput:
            return ShardOutput(started.encode(), 1, 1, ())

        return process_shards(plan, numbers, self.out, start, finish)

    def finalize(self, plan: WorkPlan[str]) -> Manifest | None:
        results = load_results(plan, self.out)
        if results is None:
            return None
        manifest = merge_results(plan, results)
        self.out.commit(MANIFEST, manifest.to_json())
        return manifest

    def run(self, worker: Worker, plan: WorkPlan[str] = PLAN) -> BuildResult:
        return load_or_build(plan, self.out, worker, "test", self.write_shards, self.finalize, self.prepare)


def test_the_last_worker_has_the_manifest_and_what_is_complete_is_only_loaded(tmp_path: Path) -> None:
    first, second = Build(tmp_path), Build(tmp_path)
    assert first.run(Worker(1, 2)).manifest is None
    result = second.run(Worker(0, 2))
    assert result.manifest is not None
    assert result.manifest.splits["train"].num_images == 4
    assert result.images_per_second is not None
    assert sorted(first.events + second.events) == ["a", "b", "c", "d", "prepare", "prepare"]
    again = Build(tmp_path)
    assert again.run(Worker()) == BuildResult(result.manifest, None)
    assert again.events == []


def test_a_wrong_worker_index_ends_the_job_before_any_work(tmp_path: Path) -> None:
    build = Build(tmp_path)
    with pytest.raises(UsageError, match="--workers"):
        build.run(Worker(2, 2))
    assert build.events == []


def test_the_result_of_another_configuration_is_refused(tmp_path: Path) -> None:
    build = Build(tmp_path)
    build.run(Worker())
    with pytest.raises(DataError, match="--out"):
        build.run(Worker(), replace(PLAN, empty_manifest=replace(EMPTY, source_digest="other")))
