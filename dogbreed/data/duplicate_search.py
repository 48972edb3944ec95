"""The search for duplicates, which all workers share: fingerprints, comparison, groups.

Each image is read and decoded once, for approximate hashes and, by the worker that will write its shard, for its crop.
Only images whose approximate hashes are similar to another image's are read again, for the hashes and pixels that
decide.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from dogbreed.core.storage import Store
from dogbreed.data import images
from dogbreed.data.builder import crop_examples, serialize
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicateGroup, DuplicateMember
from dogbreed.data.fingerprints import Fingerprint, approximate_fingerprint, fingerprint, hash_pixels
from dogbreed.data.images import InvalidImage
from dogbreed.data.near_duplicates import SIMILAR, HashTable, divide_into_groups, near_links
from dogbreed.data.plan import IMAGES_PER_SHARD, ShardPlan
from dogbreed.data.raw import SourceImage
from dogbreed.data.record_cache import RecordCache
from dogbreed.data.sharded_work import assign_shards
from dogbreed.data.shared_parts import SharedParts
from dogbreed.data.splits import TEST, VALIDATION

SIMILAR_PER_PART = 64  # images that are read again: one of forty, so that each of several workers has a part
ROWS_PER_PART = 4096  # hashes that are compared with all later ones: 84 million pairs of the published images
T = TypeVar("T")


@dataclass(frozen=True)
class _Candidate:
    """A group before its members are compared with its representative."""

    source_ids: list[str]  # in the order of the search
    chain: str  # first image of the first group that near-duplicates connect with this one


def find_duplicates(
    plan: ShardPlan,
    out: Store,
    pool: ThreadPoolExecutor,
    index: int | None = None,
    workers: int = 1,
    cache: RecordCache | None = None,
) -> list[DuplicateGroup]:
    """Return the groups of duplicates among the plan's images, read from `out` if they were found before.

    All workers fingerprint the images together and then compare them together: each starts with its own parts of the
    work and skips those that others have done. The images of its own parts are cropped as well and kept in `cache`.
    """
    search = _SharedSearch(plan, SharedParts(plan, out, index, workers), pool, cache)
    content = search.parts.load_or_compute("duplicates", search.find_groups)
    return [DuplicateGroup.from_dict(entry) for entry in content["duplicates"]]


@dataclass(frozen=True)
class _SharedSearch:
    """One worker's view of the search for duplicates; each part of it is computed once and kept in `out`."""

    plan: ShardPlan
    parts: SharedParts
    pool: ThreadPoolExecutor
    cache: RecordCache | None

    def find_groups(self) -> dict[str, Any]:
        """Return the content of duplicates.json."""
        ranks = search_ranks(self.plan.images, self.plan.config)
        found = self._approximate_fingerprints()
        approximate = {key: found[key] for key in ranks}
        rough = HashTable.from_fingerprints(approximate, ranks, SIMILAR)
        similar = select_similar(approximate, self._compare("approximate-links", rough))
        fingerprints, pixels = self._fingerprint(similar)
        table = HashTable.from_fingerprints(fingerprints, ranks)
        near = divide_into_groups(table, self._compare("exact-links", table))
        groups = [_to_group(group, fingerprints, pixels) for group in candidate_groups(fingerprints, near)]
        return {"duplicates": [group.to_dict() for group in sorted(groups, key=lambda group: group.representative)]}

    def _approximate_fingerprints(self) -> dict[str, Fingerprint]:
        """Read all images; the parts are those of shards, so that a worker crops what it will write."""
        shards = [
            (number, cut)
            for number, shard in enumerate(self.plan.shards)
            for cut in _cut(shard.images, IMAGES_PER_SHARD)
        ]
        assigned = set(assign_shards(self.plan, self.parts.index, self.parts.workers))
        own = {part for part, (number, _) in enumerate(shards) if number in assigned}

        def compute(part: int) -> dict[str, Any]:
            members = shards[part][1]
            cache = self.cache if part in own else None
            computed = self.pool.map(lambda image: self._read_once(image, cache), members)
            return {"fingerprints": {i.source_id: entry.to_dict() for i, entry in zip(members, computed, strict=True)}}

        contents = self.parts.load_or_compute_all("approximate-fingerprints", len(shards), compute, own)
        return {key: Fingerprint.from_dict(e) for content in contents for key, e in content["fingerprints"].items()}

    def _read_once(self, image: SourceImage, cache: RecordCache | None) -> Fingerprint:
        """Return the approximate fingerprint of an image, and keep its records in `cache`."""
        data = self.plan.source.read(image)
        try:
            pixels = images.decode(data)
        except InvalidImage as error:
            if cache:
                cache.add(image.source_id, str(error))
            return fingerprint(data)
        if cache:
            cache.add(image.source_id, serialize(crop_examples(self.plan, image, data, pixels)))
        return approximate_fingerprint(data, pixels)

    def _compare(self, name: str, table: HashTable) -> list[tuple[str, str]]:
        count = len(table.keys)

        def compute(part: int) -> dict[str, Any]:
            rows = range(part * ROWS_PER_PART, min((part + 1) * ROWS_PER_PART, count))
            return {"links": near_links(table, rows, self.pool)}

        contents = self.parts.load_or_compute_all(name, -(-count // ROWS_PER_PART), compute)
        return [(a, b) for content in contents for a, b in content["links"]]

    def _fingerprint(self, similar: Mapping[str, str]) -> tuple[dict[str, Fingerprint], dict[str, str]]:
        """Read one image of each different file of `similar`: source id -> SHA-256 of the file.

        Returns:
            source id -> fingerprint of each, in the same order, and SHA-256 of a file -> SHA-256 of its pixels.
        """
        image_of = {image.source_id: image for image in self.plan.images}
        first: dict[str, str] = {}
        for key, sha256 in similar.items():
            first.setdefault(sha256, key)
        parts = _cut(sorted(first.values()), SIMILAR_PER_PART)

        def read(key: str) -> tuple[Fingerprint, str]:
            data = self.plan.source.read(image_of[key])
            return fingerprint(data), hash_pixels(data)

        def compute(part: int) -> dict[str, Any]:
            computed = dict(zip(parts[part], self.pool.map(read, parts[part]), strict=True))
            return {
                "fingerprints": {key: entry.to_dict() for key, (entry, _) in computed.items()},
                "pixels": {key: pixels for key, (_, pixels) in computed.items()},
            }

        contents = self.parts.load_or_compute_all("exact-fingerprints", len(parts), compute)
        found = {key: Fingerprint.from_dict(e) for content in contents for key, e in content["fingerprints"].items()}
        pixels = {found[key].sha256: value for content in contents for key, value in content["pixels"].items()}
        return {key: found[first[sha256]] for key, sha256 in similar.items()}, pixels


def _cut(members: Sequence[T], length: int) -> list[Sequence[T]]:
    return [members[start : start + length] for start in range(0, len(members), length)]


def search_ranks(images: Iterable[SourceImage], config: DatasetConfig) -> dict[str, int]:
    """Return source id -> rank, in the order of the search: published test images, validation images, all others.

    The representative of a group is its first image that is not damaged: a group with a test image is named after one.
    """
    rank_of = {TEST: 0, VALIDATION: 1} if config.split == "official" else {}
    ranks = {image.source_id: rank_of.get(image.split or "", 2) for image in images}
    return dict(sorted(ranks.items(), key=lambda item: (item[1], item[0])))


def select_similar(approximate: Mapping[str, Fingerprint], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return source id -> SHA-256 of the file, of images that links or equal hashes connect with another one."""
    linked = {key for link in links for key in link}
    copies = _copies(approximate)
    chosen = {key for keys in copies if len(keys) > 1 or keys[0] in linked for key in keys}
    return {key: entry.sha256 for key, entry in approximate.items() if key in chosen}


def _copies(fingerprints: Mapping[str, Fingerprint]) -> Collection[list[str]]:
    """Return the images in lists of equal hashes, or of equal files where there are no hashes."""
    copies: dict[object, list[str]] = defaultdict(list)
    for key, entry in fingerprints.items():
        copies[entry.sha256 if entry.phash is None else (entry.phash, entry.dhash)].append(key)
    return copies.values()


def candidate_groups(fingerprints: Mapping[str, Fingerprint], near: Sequence[list[list[str]]]) -> list[_Candidate]:
    """Return the groups of several images; equal files and equal hashes come together, and what `near` connects.

    Takes time in proportion to the number of images.
    """
    copies_of = {keys[0]: keys for keys in _copies(fingerprints)}
    order = {key: place for place, key in enumerate(fingerprints)}
    found = []
    for groups in near:
        for group in groups:
            source_ids = sorted((key for first in group for key in copies_of.pop(first)), key=order.__getitem__)
            found.append(_Candidate(source_ids, groups[0][0]))
    return found + [_Candidate(keys, keys[0]) for keys in copies_of.values() if len(keys) > 1]


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
