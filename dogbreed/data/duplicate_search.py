"""The search for duplicates, which all workers share: fingerprints, comparison, groups."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified
from dogbreed.core.errors import NotFound
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicateGroup, DuplicateMember
from dogbreed.data.fingerprints import Fingerprint, fingerprint_all, hash_pixels
from dogbreed.data.near_duplicates import HashTable, divide_into_groups, near_links
from dogbreed.data.plan import IMAGES_PER_SHARD, ShardPlan
from dogbreed.data.raw import SourceImage
from dogbreed.data.sharded_work import load_json
from dogbreed.data.splits import TEST, VALIDATION

ROWS_PER_PART = 4096  # hashes that are compared with all later ones: 84 million pairs of the published images


@dataclass(frozen=True)
class _Candidate:
    """A group before its members are compared with its representative."""

    source_ids: list[str]  # in the order of the search
    chain: str  # first image of the first group that near-duplicates connect with this one


def find_duplicates(
    plan: ShardPlan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[DuplicateGroup]:
    """Return the groups of duplicates among the plan's images, read from `out` if they were found before.

    All workers fingerprint the images together and then compare them together: each starts with its own parts of the
    work and skips those that others have done.
    """
    search = _SharedSearch(plan, out, pool, index, workers)
    content = search.cached("duplicates", search.find_groups)
    return [DuplicateGroup.from_dict(entry) for entry in content["duplicates"]]


@dataclass(frozen=True)
class _SharedSearch:
    """One worker's view of the search for duplicates; each part of it is computed once and kept in `out`."""

    plan: ShardPlan
    out: Store
    pool: ThreadPoolExecutor
    index: int | None
    workers: int

    def find_groups(self) -> dict[str, Any]:
        """Return the content of duplicates.json."""
        ranks = search_ranks(self.plan.images, self.plan.config)
        found = self._fingerprint_images()
        fingerprints = {key: found[key] for key in ranks}
        table = HashTable.from_fingerprints(fingerprints, ranks)
        near = divide_into_groups(table, self._compare(table))
        candidates = candidate_groups(fingerprints, near)
        pixels = self._hash_pixels(candidates, fingerprints)
        groups = [_to_group(candidate, fingerprints, pixels) for candidate in candidates]
        return {"duplicates": [group.to_dict() for group in sorted(groups, key=lambda group: group.representative)]}

    def _fingerprint_images(self) -> dict[str, Fingerprint]:
        images = self.plan.images

        def compute(part: range) -> dict[str, Any]:
            computed = fingerprint_all(self.plan.source, images[part.start : part.stop], self.pool)
            return {"fingerprints": {key: entry.to_dict() for key, entry in computed.items()}}

        fingerprints = {}
        for content in self._cached_parts("fingerprints", len(images), IMAGES_PER_SHARD, compute):
            fingerprints.update({key: Fingerprint.from_dict(e) for key, e in content["fingerprints"].items()})
        return fingerprints

    def _compare(self, table: HashTable) -> list[tuple[str, str]]:
        def compute(rows: range) -> dict[str, Any]:
            return {"near_links": near_links(table, rows, self.pool)}

        parts = self._cached_parts("near-links", len(table.keys), ROWS_PER_PART, compute)
        return [(a, b) for content in parts for a, b in content["near_links"]]

    def _hash_pixels(
        self, candidates: Iterable[_Candidate], fingerprints: Mapping[str, Fingerprint]
    ) -> Mapping[str, str]:
        """Return SHA-256 of a file -> SHA-256 of its pixels, for the groups of different files; each is read once."""
        image_of = {image.source_id: image for image in self.plan.images}
        files = _different_files(candidates, fingerprints)
        keys = list(files)

        def hash_image(key: str) -> str:
            return hash_pixels(self.plan.source.read(image_of[key]))

        def compute(part: range) -> dict[str, Any]:
            own = keys[part.start : part.stop]
            return {"pixels": dict(zip(own, self.pool.map(hash_image, own), strict=True))}

        parts = self._cached_parts("pixels", len(keys), IMAGES_PER_SHARD, compute)
        return {files[key]: pixels for content in parts for key, pixels in content["pixels"].items()}

    def cached(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON content of this name, computed and written if no worker has done so."""
        key = self.plan.part_key(name)
        try:
            return load_json(self.out, key, loads_verified)
        except NotFound:
            content = compute()
            self.out.commit(key, dumps_with_digest(content))
            return content

    def _cached_parts(
        self, name: str, count: int, length: int, compute: Callable[[range], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return `compute` of each range of `length` out of `count`, in order."""
        parts = [range(start, min(start + length, count)) for start in range(0, count, length)]
        numbers = own_first(len(parts), self.index, self.workers)
        contents = {
            number: self.cached(f"{name}-{number}", partial(compute, parts[number]))
            for number in progress(numbers, f"duplicates: {name}", len(numbers), unit="part")
        }
        return [contents[number] for number in range(len(parts))]


def own_first(count: int, index: int | None, workers: int) -> list[int]:
    """Return 0 to `count` - 1 in random order; with an index, every `workers`-th number from `index` comes first."""
    numbers = random.sample(range(count), count)
    if index is None:
        return numbers
    own = [number for number in numbers if number % workers == index]
    return own + [number for number in numbers if number % workers != index]


def search_ranks(images: Iterable[SourceImage], config: DatasetConfig) -> dict[str, int]:
    """Return source id -> rank, in the order of the search: published test images, validation images, all others.

    The representative of a group is its first image that is not damaged: a group with a test image is named after one.
    """
    rank_of = {TEST: 0, VALIDATION: 1} if config.split == "official" else {}
    ranks = {image.source_id: rank_of.get(image.split or "", 2) for image in images}
    return dict(sorted(ranks.items(), key=lambda item: (item[1], item[0])))


def candidate_groups(fingerprints: Mapping[str, Fingerprint], near: Sequence[list[list[str]]]) -> list[_Candidate]:
    """Return the groups of several images; equal files and equal hashes come together, and what `near` connects.

    Takes time in proportion to the number of images.
    """
    copies: dict[object, list[str]] = defaultdict(list)
    for key, entry in fingerprints.items():
        copies[entry.sha256 if entry.phash is None else (entry.phash, entry.dhash)].append(key)
    copies_of = {keys[0]: keys for keys in copies.values()}
    order = {key: place for place, key in enumerate(fingerprints)}
    found = []
    for groups in near:
        for group in groups:
            source_ids = sorted((key for first in group for key in copies_of.pop(first)), key=order.__getitem__)
            found.append(_Candidate(source_ids, groups[0][0]))
    return found + [_Candidate(keys, keys[0]) for keys in copies_of.values() if len(keys) > 1]


def _different_files(candidates: Iterable[_Candidate], fingerprints: Mapping[str, Fingerprint]) -> dict[str, str]:
    """Return source id -> SHA-256 of the file, one image for each file in groups of different files."""
    first: dict[str, str] = {}
    for candidate in candidates:
        files = {fingerprints[key].sha256: key for key in reversed(candidate.source_ids)}
        if len(files) > 1:
            first.update(files)
    return {key: sha256 for sha256, key in sorted(first.items())}


def _to_group(
    candidate: _Candidate, fingerprints: Mapping[str, Fingerprint], pixels: Mapping[str, str]
) -> DuplicateGroup:
    """Return the group, each member compared with the representative: the first image that is not damaged."""

    def is_damaged(key: str) -> bool:
        sha256 = fingerprints[key].sha256
        return pixels.get(sha256) == sha256

    representative, *others = sorted(candidate.source_ids, key=is_damaged)
    own = fingerprints[representative].sha256

    def kind(key: str) -> str:
        sha256 = fingerprints[key].sha256
        if sha256 == own:
            return "file"
        return "pixels" if pixels[sha256] == pixels[own] else "near"

    members = tuple(DuplicateMember(key, kind(key)) for key in others)
    return DuplicateGroup(representative, members, candidate.chain)
