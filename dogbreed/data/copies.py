"""Copies among the photos of a plan, looked for once by all workers together."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from dogbreed.data.dataset import Copy
from dogbreed.data.leakage import Fingerprint, Hashes, copies_among, fingerprints, near_pairs
from dogbreed.data.parts import parsed
from dogbreed.data.plan import PHOTOS_PER_SHARD, Plan
from dogbreed.data.sealed import sealed, unsealed
from dogbreed.platform.errors import MissingObject
from dogbreed.platform.log import progress
from dogbreed.platform.storage import Store

ROWS_PER_PART = 4096  # photos that are compared with all that come after them: 84 million pairs of the published ones

T = TypeVar("T")


def find_copies_once(
    plan: Plan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[Copy]:
    """Return the pairs of copies among the plan's photos: what an earlier start has committed, or found now.

    All workers look at the photos together, then compare them together: each begins with other parts of the work and
    passes over what others have done.
    """
    photos, search = plan.photos, _Search(plan, out, index, workers)

    def look(places: range) -> dict[str, dict[str, Any]]:
        prints = fingerprints(plan.source, photos[places.start : places.stop], pool)
        return {key: asdict(found) for key, found in prints.items()}

    def find() -> list[dict[str, str]]:
        looked = search.in_parts("prints", len(photos), PHOTOS_PER_SHARD, look)
        prints = {key: Fingerprint(**entry) for part in looked for key, entry in part.items()}
        hashes = Hashes.of(prints)
        compared = search.in_parts("near", len(hashes.keys), ROWS_PER_PART, lambda rows: near_pairs(hashes, rows, pool))
        near = [(a, b) for part in compared for a, b in part]
        return [asdict(copy) for copy in copies_among(plan.source, photos, prints, near)]

    return [Copy(**entry) for entry in search.once("copies", find)]


@dataclass(frozen=True)
class _Search:
    """What one of several workers does of the search for a plan's copies."""

    plan: Plan
    out: Store
    index: int | None
    workers: int

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what some worker has committed under this name, or what `make` gives now, as JSON holds it."""
        key = self.plan.part_key(name)
        try:
            found: T = parsed(self.out, key, lambda data: unsealed(data)["found"])
        except MissingObject:
            found = make()
            self.out.commit(key, sealed({"found": found}))
        return found

    def in_parts(self, name: str, count: int, length: int, make: Callable[[range], T]) -> Sequence[T]:
        """Return what `make` gives for each `length` of `count` things, in order; whoever is done helps the others."""
        parts = [range(start, min(start + length, count)) for start in range(0, count, length)]
        numbers = random.sample(range(len(parts)), len(parts))
        if self.index is not None:
            numbers = sorted(numbers, key=lambda number: number % self.workers != self.index)
        found = {
            number: self.once(f"{name}-{number}", partial(make, parts[number]))
            for number in progress(numbers, f"copies: {name}", len(numbers), unit="part")
        }
        return [found[number] for number in range(len(parts))]
