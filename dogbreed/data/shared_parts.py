"""Parts of a computation that all workers share: each part is computed by one of them and kept in `out` as JSON."""

import logging
import random
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified
from dogbreed.core.errors import NotFound
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.sharded_work import WorkPlan, load_json

Content = dict[str, Any]

log = logging.getLogger(__name__)

PATIENCE = 2.0  # times this worker's longest part: how long another worker's part may take before it is computed here
LOOK_EVERY = 1.0  # seconds between two listings while waiting, at most


@dataclass(frozen=True)
class SharedParts:
    """One worker's view of the parts; without an index every part is its own."""

    plan: WorkPlan[Any]
    out: Store
    index: int | None
    workers: int

    def load_or_compute(self, name: str, compute: Callable[[], Content]) -> Content:
        """Return the content of this name, computed and written if no worker has done so."""
        key = self.plan.part_key(name)
        try:
            return load_json(self.out, key, loads_verified)
        except NotFound:
            content = compute()
            self.out.commit(key, dumps_with_digest(content))
            return content

    def load_or_compute_all(
        self, name: str, count: int, compute: Callable[[int], Content], own: Collection[int] | None = None
    ) -> list[Content]:
        """Return the contents of all parts, `compute(number)` each, in order.

        Args:
            name: of the parts; the number is added.
            count: how many there are.
            compute: returns the content of the part with this number, from 0.
            own: numbers of this worker's parts; by default every `workers`-th one.
        """
        contents = {}
        numbers = self._order(name, count, self._every_nth(count) if own is None else own)
        for number in progress(numbers, f"duplicates: {name}", count, unit="part"):
            contents[number] = self.load_or_compute(f"{name}-{number}", partial(compute, number))
        return [contents[number] for number in range(count)]

    def _every_nth(self, count: int) -> Collection[int]:
        return range(count) if self.index is None else range(self.index, count, self.workers)

    def _order(self, name: str, count: int, own: Collection[int]) -> Iterator[int]:
        """Yield this worker's parts in random order, and then those of the others as they arrive.

        Where none arrives for PATIENCE times as long as this worker's longest part took, a missing one is yielded, to
        be computed here: its worker may be dead. Without this wait, workers that finish first would compute, and read,
        what the others have nearly done.
        """
        longest = 0.0  # seconds
        for number in random.sample(sorted(own), len(own)):
            start_time = time.monotonic()
            yield number  # the caller computes it before it asks for the next one
            longest = max(longest, time.monotonic() - start_time)
        others = sorted(set(range(count)).difference(own))
        missing = random.sample(others, len(others))
        last_arrival = time.monotonic()
        while missing:
            present = set(self.out.list(self.plan.part_key(f"{name}-").removesuffix(".json")))
            arrived = [number for number in missing if self.plan.part_key(f"{name}-{number}") in present]
            if arrived:
                last_arrival = time.monotonic()
            elif time.monotonic() - last_arrival < max(PATIENCE * longest, LOOK_EVERY):
                time.sleep(min(LOOK_EVERY, max(longest, LOOK_EVERY / 4) / 4))
                continue
            if not arrived:
                log.info("%s-%d of another worker is missing; it is computed here", name, missing[0])
            for number in arrived or missing[:1]:
                missing.remove(number)
                yield number
