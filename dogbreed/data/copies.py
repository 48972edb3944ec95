"""Copies among the photos of a plan, looked for once by all workers together."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from dogbreed.data.dataset import Copy
from dogbreed.data.leakage import Fingerprint, copies_among, fingerprints
from dogbreed.data.parts import parsed
from dogbreed.data.plan import PHOTOS_PER_SHARD, Plan
from dogbreed.data.sealed import sealed, unsealed
from dogbreed.data.sources import Photo
from dogbreed.platform.errors import MissingObject
from dogbreed.platform.log import progress
from dogbreed.platform.storage import Store


def find_copies_once(
    plan: Plan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[Copy]:
    """Return the pairs of copies among the plan's photos: what an earlier start has committed, or found now.

    All workers look at the photos together: each begins with other parts of them and passes over what others have done.
    """
    key = plan.part_key("copies")
    try:
        return parsed(out, key, lambda data: [Copy(**entry) for entry in unsealed(data)["copies"]])
    except MissingObject:
        copies = copies_among(plan.source, plan.photos, _fingerprints_of_all(plan, out, pool, index, workers))
        out.commit(key, sealed({"copies": [asdict(copy) for copy in copies]}))
        return copies


def _fingerprints_of_all(
    plan: Plan, out: Store, pool: ThreadPoolExecutor, index: int | None, workers: int
) -> dict[str, Fingerprint]:
    """Return key -> fingerprint of all photos, from parts that some worker has committed or that are made now."""
    photos = plan.photos
    parts = [photos[start : start + PHOTOS_PER_SHARD] for start in range(0, len(photos), PHOTOS_PER_SHARD)]
    numbers = random.sample(range(len(parts)), len(parts))  # who is done helps the others
    if index is not None:
        numbers = sorted(numbers, key=lambda number: number % workers != index)
    found = {
        number: _fingerprints(plan, number, parts[number], out, pool)
        for number in progress(numbers, "compare", len(numbers), unit="part")
    }
    return {key: print_ for number in range(len(parts)) for key, print_ in found[number].items()}


def _fingerprints(
    plan: Plan, number: int, photos: list[Photo], out: Store, pool: ThreadPoolExecutor
) -> dict[str, Fingerprint]:
    def parse(data: bytes) -> dict[str, Fingerprint]:
        return {name: Fingerprint(**entry) for name, entry in unsealed(data)["prints"].items()}

    key = plan.part_key(f"prints-{number}")
    try:
        return parsed(out, key, parse)
    except MissingObject:
        prints = fingerprints(plan.source, photos, pool)
        out.commit(key, sealed({"prints": {key: asdict(found) for key, found in prints.items()}}))
        return prints
