"""Work in parts, a shard each: any number of workers, each killed at any moment, leave the same objects."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dogbreed.core.errors import CorruptData, DataError, ManifestNotFound, NotFound, UsageError
from dogbreed.core.storage import Store
from dogbreed.data.manifest import FORMAT, Manifest, QuarantinedImage, ShardResult, Split, commit_shard, load_manifest

T = TypeVar("T")

log = logging.getLogger(__name__)


class WorkPlan(Protocol):
    """Work whose shards follow from what was asked alone, never from the workers."""

    @property
    def config_id(self) -> str:
        """Name of what was asked; parts are kept below it."""

    @property
    def shards(self) -> Sequence[tuple[str, Sequence[object]]]:
        """Split and photos of each shard."""

    def part_key(self, part: int | str) -> str:
        """Return the key of what became of a shard, by its number."""


@dataclass(frozen=True)
class ShardOutput:
    """What a worker has made of one planned shard."""

    data: bytes  # of the object; empty when there is no record
    num_examples: int
    num_images: int  # that it holds
    quarantine: tuple[QuarantinedImage, ...]


def part_key(config_id: str, part: int | str) -> str:
    """Return the key of a part of the work that `config_id` names."""
    return f"_parts/{config_id}/{part}.json"


def assign_shards(plan: WorkPlan, index: int | None, workers: int) -> list[int]:
    """Return the numbers of the shards that this worker looks after.

    With an `index` the share is fixed, and all shares have about as many photos; without, it is every shard in random
    order: workers who know nothing of each other rarely meet, and those who met part again.
    """
    numbers = list(range(len(plan.shards)))
    if index is None:
        return random.sample(numbers, len(numbers))
    if not 0 <= index < workers:
        raise UsageError(f"worker index {index} is outside 0 to {workers - 1}; set --workers to their number")
    shares: list[list[int]] = [[] for _ in range(workers)]
    photos = [0] * workers
    for number in sorted(numbers, key=lambda number: len(plan.shards[number][1]), reverse=True):
        least = photos.index(min(photos))  # the largest shard left goes to who has least
        shares[least].append(number)
        photos[least] += len(plan.shards[number][1])
    return shares[index]


def process_shards(
    plan: WorkPlan,
    numbers: Iterable[int],
    out: Store,
    start: Callable[[int], T],
    finish: Callable[[int, T], ShardOutput],
    suffix: str = "tfrecord",
) -> Iterator[int]:
    """Make and commit those shards that are not there yet, each with its part.

    `start` starts the work on a shard on other threads, `finish` waits for it: while one shard is written the next one
    is being worked on, so two are in memory at most. Yields the number of planned photos for each shard, 0 for one that
    was there.
    """
    ahead: tuple[int, T] | None = None

    def commit(number: int, begun: T) -> int:
        split, photos = plan.shards[number]
        content = finish(number, begun)
        shard = commit_shard(out, content.data, content.num_examples, suffix) if content.num_examples else None
        out.commit(plan.part_key(number), ShardResult(split, shard, content.num_images, content.quarantine).to_json())
        return len(photos)

    for number in numbers:
        if _is_made(plan, number, out):
            yield 0
            continue
        begun = start(number)
        if ahead:
            yield commit(*ahead)
        ahead = number, begun
    if ahead:
        yield commit(*ahead)


def _is_made(plan: WorkPlan, number: int, out: Store) -> bool:
    """Tell whether some worker has committed this shard's part, and what the part names is there."""
    try:
        result = load_json(out, plan.part_key(number), ShardResult.from_json)
    except NotFound:
        return False
    return result.shard is None or out.size(result.shard.key) is not None


def load_json(out: Store, key: str, parse: Callable[[bytes], T]) -> T:
    """Return what `parse` makes of an object; CorruptData when it cannot, NotFound when there is none."""
    data = out.read(key)
    try:
        return parse(data)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(f"{out.uri_of(key)} is damaged ({error!r}); delete it and run the job again") from error


def load_results(plan: WorkPlan, out: Store) -> list[ShardResult] | None:
    """Return the parts in the order of the plan, None while one is missing."""
    try:
        parts = [load_json(out, plan.part_key(number), ShardResult.from_json) for number in range(len(plan.shards))]
    except NotFound:
        return None
    if len(named := [part.shard.key for part in parts if part.shard]) > len(set(named)):
        raise CorruptData(f"two parts of {plan.config_id} at {out.uri} name the same shard; delete _parts/ there")
    return parts


def group_by_split(parts: Iterable[ShardResult], names: Iterable[str]) -> dict[str, Split]:
    """Return what the parts of each split hold together."""
    own = {name: [part for part in parts if part.split == name] for name in names}
    return {
        name: Split(sum(part.num_images for part in found), tuple(part.shard for part in found if part.shard))
        for name, found in own.items()
    }


def load_if_complete(plan: WorkPlan, out: Store, format: int | str = FORMAT) -> Manifest | None:
    """Return the manifest that is already there with all its shards, None where it or one of them is not.

    DataError when the prefix holds something else than what `plan` asks for.
    """
    try:
        manifest = load_manifest(out, format)
    except ManifestNotFound:
        return None
    if manifest.config_id != plan.config_id:
        raise DataError(
            f"{out.uri} holds what other options or other photos gave (configuration {manifest.config_id}, "
            f"asked for {plan.config_id}); choose another --out"
        )
    named = {shard.key for split in manifest.splits.values() for shard in split.shards}
    if lost := named.difference(out.list("shards/")):
        log.warning("%d shards of the manifest at %s are not there; they are made again", len(lost), out.uri)
        return None
    return manifest
