"""Sharded work: any number of workers, each killed at any moment and restarted, write the same objects.

Each planned shard becomes an object under its own SHA-256 and a result file beside it; the worker that finds all result
files writes the manifest. Every write is create-only.
"""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified
from dogbreed.core.errors import CorruptData, DataError, ManifestNotFound, NotFound, UsageError
from dogbreed.core.storage import Store
from dogbreed.data.manifest import Manifest, QuarantinedImage, Shard, Split, load_manifest
from dogbreed.data.shard_files import commit_shard

ImageT = TypeVar("ImageT")
Item = TypeVar("Item")
Started = TypeVar("Started")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class PlannedShard(NamedTuple, Generic[ImageT]):
    """The images of one shard, in order, and the split that they belong to."""

    split: str
    images: Sequence[ImageT]


@dataclass(frozen=True)
class WorkPlan(Generic[ImageT]):
    """What is to be made: a function of configuration and source alone, never of the workers.

    `empty_manifest` is the manifest before there is any result: configuration, source, classes, names of the splits,
    and the images that are quarantined or excluded without being read.
    """

    shards: tuple[PlannedShard[ImageT], ...]
    empty_manifest: Manifest

    @cached_property
    def config_id(self) -> str:
        """Id of configuration and source; the result files are below it."""
        return self.empty_manifest.config_id

    def part_key(self, part: int | str) -> str:
        """Return the key of the result file of a part of the work: a shard, by its number, or a named one."""
        return part_key(self.config_id, part)


@dataclass(frozen=True)
class ShardResult:
    """The result file of one planned shard: its object, or None if no image was usable."""

    split: str
    shard: Shard | None
    num_images: int
    quarantine: tuple[QuarantinedImage, ...] = ()

    def to_json(self) -> bytes:
        """Return the file's content; equal objects give the same bytes."""
        return dumps_with_digest(
            {
                "split": self.split,
                "shard": self.shard and self.shard.to_dict(),
                "num_images": self.num_images,
                "quarantine": [entry.to_dict() for entry in self.quarantine],
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "ShardResult":
        """Return what `to_json` was made of; ValueError for anything else."""
        content = loads_verified(data)
        shard = content["shard"] and Shard.from_dict(content["shard"])
        quarantine = tuple(map(QuarantinedImage.from_dict, content["quarantine"]))
        return cls(content["split"], shard, content["num_images"], quarantine)


@dataclass(frozen=True)
class ShardOutput:
    """The content of one shard, before it is written."""

    data: bytes  # of the object; empty without an example
    num_examples: int
    num_images: int  # images that are in it
    quarantine: tuple[QuarantinedImage, ...]


def part_key(config_id: str, part: int | str) -> str:
    """Return the key of the result file of a part of the work that `config_id` identifies."""
    return f"_parts/{config_id}/{part}.json"


def validate_worker_index(index: int | None, workers: int) -> None:
    """Raise UsageError unless `index` is None or in 0 to `workers` - 1."""
    if index is not None and not 0 <= index < workers:
        raise UsageError(f"worker index {index} is outside 0 to {workers - 1}; set --workers to their number")


def assign_shards(plan: WorkPlan[ImageT], index: int | None, workers: int) -> list[int]:
    """Return the numbers of the shards that this worker processes.

    With an `index` (0 to `workers` - 1) the assignment is fixed, with about as many images for each worker. Without, it
    is every shard in random order: uncoordinated workers then rarely process the same shard at the same time.
    """
    sizes = [len(shard.images) for shard in plan.shards]
    if index is None:
        return random.sample(range(len(sizes)), len(sizes))
    assigned: list[list[int]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for number in sorted(range(len(sizes)), key=lambda number: sizes[number], reverse=True):
        lightest = loads.index(min(loads))
        assigned[lightest].append(number)
        loads[lightest] += sizes[number]
    return assigned[index]


def double_buffer(
    items: Iterable[Item], start: Callable[[Item], Started], finish: Callable[[Item, Started], Result]
) -> Iterator[Result]:
    """Yield `finish(item, start(item))` for each item; the next item is started before an item is finished.

    `start` begins work on other threads and `finish` waits for it, so at most two items are in memory.
    """
    pending: tuple[Item, Started] | None = None
    for item in items:
        started = start(item)
        if pending is not None:
            yield finish(*pending)
        pending = item, started
    if pending is not None:
        yield finish(*pending)


def process_shards(
    plan: WorkPlan[ImageT],
    numbers: Iterable[int],
    out: Store,
    start: Callable[[PlannedShard[ImageT]], Started],
    finish: Callable[[PlannedShard[ImageT], Started], ShardOutput],
    suffix: str = "tfrecord",
) -> Iterator[int]:
    """Make the shards that are not complete yet and write each with its result file (see `double_buffer`).

    Yields for each number how many images were read: 0 for a shard that was complete already.
    """

    def start_missing(number: int) -> Started | None:
        return None if is_complete(plan, number, out) else start(plan.shards[number])

    def finish_missing(number: int, started: Started | None) -> int:
        if started is None:
            return 0
        shard = plan.shards[number]
        save_result(plan, number, out, finish(shard, started), suffix)
        return len(shard.images)

    return double_buffer(numbers, start_missing, finish_missing)


def is_complete(plan: WorkPlan[ImageT], number: int, out: Store) -> bool:
    """Tell whether a shard has its result file and the object that this file names."""
    try:
        result = load_json(out, plan.part_key(number), ShardResult.from_json)
    except NotFound:
        return False
    return result.shard is None or out.size(result.shard.key) is not None


def save_result(plan: WorkPlan[ImageT], number: int, out: Store, output: ShardOutput, suffix: str) -> None:
    """Write a shard's object, unless it has no example, and then its result file."""
    shard = commit_shard(out, output.data, output.num_examples, suffix) if output.num_examples else None
    result = ShardResult(plan.shards[number].split, shard, output.num_images, output.quarantine)
    out.commit(plan.part_key(number), result.to_json())


def load_json(out: Store, key: str, parse: Callable[[bytes], Result]) -> Result:
    """Return the parsed object at `key`.

    Raises:
        NotFound: there is no such object.
        CorruptData: `parse` cannot read it.
    """
    data = out.read(key)
    try:
        return parse(data)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(f"{out.uri_of(key)} is damaged ({error!r}); delete it and run the job again") from error


def load_results(plan: WorkPlan[ImageT], out: Store) -> list[ShardResult] | None:
    """Return the results of all shards in the order of the plan, None while one is missing."""
    try:
        results = [load_json(out, plan.part_key(number), ShardResult.from_json) for number in range(len(plan.shards))]
    except NotFound:
        return None
    keys = [result.shard.key for result in results if result.shard]
    if len(keys) > len(set(keys)):
        raise CorruptData(f"two results of {plan.config_id} at {out.uri} name the same shard; delete _parts/ there")
    return results


def merge_results(plan: WorkPlan[ImageT], results: Sequence[ShardResult]) -> Manifest:
    """Return the manifest of the results of all shards."""
    empty = plan.empty_manifest
    quarantine = sorted([*empty.quarantine, *(entry for result in results for entry in result.quarantine)])
    splits = {}
    for name in empty.splits:
        own = [result for result in results if result.split == name]
        shards = tuple(result.shard for result in own if result.shard)
        splits[name] = Split(sum(result.num_images for result in own), shards)
    return replace(empty, splits=splits, quarantine=tuple(quarantine))


def load_if_complete(plan: WorkPlan[ImageT], out: Store) -> Manifest | None:
    """Return the manifest at `out` if all its shards exist, None if it or one of them is missing.

    Raises:
        DataError: the prefix holds the result of another configuration or source.
    """
    try:
        manifest = load_manifest(out, plan.empty_manifest.format)
    except ManifestNotFound:
        return None
    if manifest.config_id != plan.config_id:
        named = "" if manifest.name == plan.empty_manifest.name else f" under the name {manifest.name}"
        raise DataError(
            f"{out.uri} holds the result of other options{named}, or of images that have been added, removed or "
            f"changed since (configuration {manifest.config_id}, requested {plan.config_id}); choose another --out"
        )
    keys = {shard.key for split in manifest.splits.values() for shard in split.shards}
    missing = keys.difference(out.list("shards/"))
    if manifest.duplicates and out.size(manifest.duplicates.key) is None:
        missing.add(manifest.duplicates.key)
    if missing:
        log.warning("objects of the manifest at %s that are missing and will be made again: %d", out.uri, len(missing))
        return None
    return manifest
