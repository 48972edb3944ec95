"""Copies among the photos of a plan, looked for once by all workers together."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from dogbreed.data.dataset import DuplicatePair
from dogbreed.data.leakage import Fingerprint, Hashes, copies_among, fingerprints, near_pairs
from dogbreed.data.parts import parsed
from dogbreed.data.plan import PHOTOS_PER_SHARD, Plan
from dogbreed.platform.canonical_json import dumps_with_digest, loads_verified
from dogbreed.platform.errors import MissingObject
from dogbreed.platform.log import progress
from dogbreed.platform.storage import Store

ROWS_PER_PART = 4096  # photos that are compared with all that come after them: 84 million pairs of the published ones


def find_duplicates(
    plan: Plan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[DuplicatePair]:
    """Return the pairs of duplicates among the plan's images: what an earlier start has committed, or found now.

    All workers fingerprint the images together, then compare them together: each begins with other parts of the work
    and passes over what others have done.
    """
    photos, search = plan.photos, _Search(plan, out, index, workers)

    def fingerprint_part(places: range) -> dict[str, Any]:
        found = fingerprints(plan.source, photos[places.start : places.stop], pool)
        return {"fingerprints": {key: entry.to_dict() for key, entry in found.items()}}

    def find() -> dict[str, Any]:
        parts = search.in_parts("fingerprints", len(photos), PHOTOS_PER_SHARD, fingerprint_part)
        prints = {key: Fingerprint.from_dict(entry) for part in parts for key, entry in part["fingerprints"].items()}
        hashes = Hashes.of(prints)
        compared = search.in_parts(
            "near-pairs", len(hashes.keys), ROWS_PER_PART, lambda rows: {"near_pairs": near_pairs(hashes, rows, pool)}
        )
        near = [(a, b) for part in compared for a, b in part["near_pairs"]]
        return {"duplicates": [pair.to_dict() for pair in copies_among(plan.source, photos, prints, near)]}

    return [DuplicatePair.from_dict(entry) for entry in search.once("duplicates", find)["duplicates"]]


@dataclass(frozen=True)
class _Search:
    """What one of several workers does of the search for a plan's copies."""

    plan: Plan
    out: Store
    index: int | None
    workers: int

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what some worker has committed under this name, or what `make` gives now, as JSON holds it."""
        key = self.plan.part_key(name)
        try:
            found = parsed(self.out, key, loads_verified)
        except MissingObject:
            found = make()
            self.out.commit(key, dumps_with_digest(found))
        return found

    def in_parts(
        self, name: str, count: int, length: int, make: Callable[[range], dict[str, Any]]
    ) -> Sequence[dict[str, Any]]:
        """Return what `make` gives for each `length` of `count` things, in order; whoever is done helps the others."""
        parts = [range(start, min(start + length, count)) for start in range(0, count, length)]
        numbers = random.sample(range(len(parts)), len(parts))
        if self.index is not None:
            numbers = sorted(numbers, key=lambda number: number % self.workers != self.index)
        found = {
            number: self.once(f"{name}-{number}", partial(make, parts[number]))
            for number in progress(numbers, f"duplicates: {name}", len(numbers), unit="part")
        }
        return [found[number] for number in range(len(parts))]
