"""Copies among the photos of a plan, looked for once by all workers together."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified
from dogbreed.core.errors import NotFound
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.manifest import DuplicatePair
from dogbreed.data.near_duplicates import Fingerprint, HashTable, duplicate_pairs, fingerprint_all, near_pairs
from dogbreed.data.plan import PHOTOS_PER_SHARD, ShardPlan
from dogbreed.data.sharded_work import load_json

ROWS_PER_PART = 4096  # photos that are compared with all that come after them: 84 million pairs of the published ones


def find_duplicates(
    plan: ShardPlan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[DuplicatePair]:
    """Return the pairs of duplicates among the plan's images: what an earlier start has committed, or found now.

    All workers fingerprint the images together, then compare them together: each begins with other parts of the work
    and passes over what others have done.
    """
    photos, search = plan.photos, _Search(plan, out, index, workers)

    def fingerprint_part(places: range) -> dict[str, Any]:
        found = fingerprint_all(plan.source, photos[places.start : places.stop], pool)
        return {"fingerprints": {key: entry.to_dict() for key, entry in found.items()}}

    def find() -> dict[str, Any]:
        parts = search._cached_map("fingerprints", len(photos), PHOTOS_PER_SHARD, fingerprint_part)
        prints = {key: Fingerprint.from_dict(entry) for part in parts for key, entry in part["fingerprints"].items()}
        table = HashTable.from_fingerprints(prints)
        compared = search._cached_map(
            "near-pairs", len(table.keys), ROWS_PER_PART, lambda rows: {"near_pairs": near_pairs(table, rows, pool)}
        )
        near = [(a, b) for part in compared for a, b in part["near_pairs"]]
        return {"duplicates": [pair.to_dict() for pair in duplicate_pairs(plan.source, photos, prints, near)]}

    return [DuplicatePair.from_dict(entry) for entry in search._cached("duplicates", find)["duplicates"]]


@dataclass(frozen=True)
class _Search:
    """What one of several workers does of the search for a plan's copies."""

    plan: ShardPlan
    out: Store
    index: int | None
    workers: int

    def _cached(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what some worker has committed under this name, or what `make` gives now, as JSON holds it."""
        key = self.plan.part_key(name)
        try:
            found = load_json(self.out, key, loads_verified)
        except NotFound:
            found = make()
            self.out.commit(key, dumps_with_digest(found))
        return found

    def _cached_map(
        self, name: str, count: int, length: int, make: Callable[[range], dict[str, Any]]
    ) -> Sequence[dict[str, Any]]:
        """Return what `make` gives for each `length` of `count` things, in order; whoever is done helps the others."""
        parts = [range(start, min(start + length, count)) for start in range(0, count, length)]
        numbers = random.sample(range(len(parts)), len(parts))
        if self.index is not None:
            numbers = sorted(numbers, key=lambda number: number % self.workers != self.index)
        found = {
            number: self._cached(f"{name}-{number}", partial(make, parts[number]))
            for number in progress(numbers, f"duplicates: {name}", len(numbers), unit="part")
        }
        return [found[number] for number in range(len(parts))]
