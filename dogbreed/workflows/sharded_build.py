"""A sharded job, shared by jobs.preprocess and jobs.predict: load what is complete, or build this worker's part."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.manifest import Manifest
from dogbreed.data.sharded_work import WorkPlan, assign_shards, load_if_complete, validate_worker_index

Plan = TypeVar("Plan", bound=WorkPlan[Any])

log = logging.getLogger(__name__)


class IncompleteSummary(TypedDict):
    """Summary of a worker that has done its shards while results of other workers are missing."""

    manifest: None
    out: str


@dataclass(frozen=True)
class Worker:
    """One of `count` workers; with an index it has a fixed share of the shards, without it takes any."""

    index: int | None = None
    count: int = 1


@dataclass(frozen=True)
class BuildResult:
    """The complete result, and how fast this worker was."""

    manifest: Manifest | None  # None while results of other workers are missing
    images_per_second: float | None  # None if this worker read no image


def load_or_build(
    plan: Plan,
    out: Store,
    worker: Worker,
    label: str,
    write_shards: Callable[[Plan, Sequence[int]], Iterator[int]],
    finalize: Callable[[Plan], Manifest | None],
    prepare: Callable[[Plan], Plan] | None = None,
) -> BuildResult:
    """Return the manifest that is at `out`, or build this worker's shards and finalize.

    Args:
        label: of the progress bar.
        write_shards: writes the shards of these numbers and yields for each how many images were read.
        finalize: writes the manifest and returns it, None while results of other workers are missing.
        prepare: returns the plan with what must be known before any shard is written.

    Raises:
        DataError: `out` holds the result of another configuration or source.
        UsageError: the worker's index is outside its range.
    """
    manifest = load_if_complete(plan, out)
    if manifest:
        log.info("%s is complete already", out.uri)
        return BuildResult(manifest, None)
    validate_worker_index(worker.index, worker.count)
    start_time = time.monotonic()
    plan = prepare(plan) if prepare else plan
    numbers = assign_shards(plan, worker.index, worker.count)
    log.info("shards to process at %s: %d of %d", out.uri, len(numbers), len(plan.shards))
    images = sum(progress(write_shards(plan, numbers), label, len(numbers), unit="shard"))
    rate = images / (time.monotonic() - start_time) if images else None
    manifest = finalize(plan)
    if manifest is None:
        log.info("this worker's shards are complete; the worker that finds all results writes the manifest")
    return BuildResult(manifest, rate)
