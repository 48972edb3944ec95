"""Near-duplicate detection by perceptual hashes: pairs of images that must come into the same split.

Equal files and equal pixels are exact duplicates. Near-duplicates (resized, recoloured, framed, the next frame of a
series) are found by two perceptual hashes of 64 bits, as `imagehash` computes them
(http://www.hackerfactor.com/blog, "Looks Like It" and "Kind of Like That"). Both must agree: either alone confuses dogs
on plain lawns.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import imagehash
import numpy as np

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified, sha256_hex
from dogbreed.core.errors import NotFound
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data import images
from dogbreed.data.images import InvalidImage
from dogbreed.data.manifest import DuplicatePair
from dogbreed.data.plan import IMAGES_PER_SHARD, ShardPlan
from dogbreed.data.raw import Source, SourceImage
from dogbreed.data.sharded_work import load_json

# bits of 64 that may differ; every pair at or under both was a duplicate in the small archive, docs/data.md
MAX_PHASH_BITS, MAX_DHASH_BITS = 10, 8
SIDE = 96  # pixels to which a JPEG is reduced while it is decoded: three times what the hashes look at
ROWS_PER_PART = 4096  # images that are compared with all later ones: 84 million pairs of the published ones
ROWS, COLUMNS = 64, 8192  # images that are compared at a time with so many others: 4 MB, which a core's cache holds


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of a file, and its two hashes of 64 bits; None for what cannot be decoded."""

    sha256: str
    phash: int | None = None  # perceptual hash
    dhash: int | None = None  # gradient hash

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a fingerprint file."""
        return {"sha256": self.sha256, "phash": self.phash, "dhash": self.dhash}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Fingerprint":
        """Return what `to_dict` was made of."""
        return cls(entry["sha256"], entry["phash"], entry["dhash"])


@dataclass(frozen=True)
class HashTable:
    """Both hashes of the images that can be decoded, uint64 [n] each, in the order of their sorted keys."""

    keys: list[str]
    phash: np.ndarray
    dhash: np.ndarray

    @classmethod
    def from_fingerprints(cls, fingerprints: Mapping[str, Fingerprint]) -> "HashTable":
        """Return the hashes of the fingerprints that have any."""
        keys = sorted(key for key, entry in fingerprints.items() if entry.phash is not None)
        phash = np.array([fingerprints[key].phash for key in keys], np.uint64)
        dhash = np.array([fingerprints[key].dhash for key in keys], np.uint64)
        return cls(keys, phash, dhash)


def find_duplicates(
    plan: ShardPlan, out: Store, pool: ThreadPoolExecutor, index: int | None = None, workers: int = 1
) -> list[DuplicatePair]:
    """Return the pairs of duplicates among the plan's images, read from `out` if they were found before.

    All workers fingerprint the images together and then compare them together: each starts with its own parts of the
    work and skips those that others have done.
    """
    search = _SharedSearch(plan, out, pool, index, workers)
    content = search.cached("duplicates", search.find_pairs)
    return [DuplicatePair.from_dict(entry) for entry in content["duplicates"]]


@dataclass(frozen=True)
class _SharedSearch:
    """One worker's view of the search for duplicates; each part of it is computed once and kept in `out`."""

    plan: ShardPlan
    out: Store
    pool: ThreadPoolExecutor
    index: int | None
    workers: int

    def find_pairs(self) -> dict[str, Any]:
        """Return the content of duplicates.json."""
        fingerprints = self._fingerprint_images()
        near = self._compare(HashTable.from_fingerprints(fingerprints))
        pairs = duplicate_pairs(self.plan.source, self.plan.images, fingerprints, near)
        return {"duplicates": [pair.to_dict() for pair in pairs]}

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
            return {"near_pairs": near_pairs(table, rows, self.pool)}

        parts = self._cached_parts("near-pairs", len(table.keys), ROWS_PER_PART, compute)
        return [(a, b) for content in parts for a, b in content["near_pairs"]]

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


def fingerprint(data: bytes) -> Fingerprint:
    """Return the fingerprint of an encoded image, whether or not it can be decoded."""
    sha256 = sha256_hex(data)
    try:
        small = images.decode_gray(data, SIDE)
    except InvalidImage:
        return Fingerprint(sha256)
    return Fingerprint(sha256, _to_int(imagehash.phash(small)), _to_int(imagehash.dhash(small)))


def _to_int(image_hash: imagehash.ImageHash) -> int:
    return int(str(image_hash), 16)


def fingerprint_all(source: Source, images: Sequence[SourceImage], pool: ThreadPoolExecutor) -> dict[str, Fingerprint]:
    """Read the images and return source id -> fingerprint, in their order."""
    fingerprints = pool.map(lambda image: fingerprint(source.read(image)), images)
    return {image.source_id: entry for image, entry in zip(images, fingerprints, strict=True)}


def near_pairs(table: HashTable, rows: range, pool: ThreadPoolExecutor) -> list[tuple[str, str]]:
    """Return the pairs of keys whose hashes differ in few bits: an image of `rows` and a later one."""
    blocks = [range(start, min(start + ROWS, rows.stop)) for start in range(rows.start, rows.stop, ROWS)]
    return [pair for pairs in pool.map(partial(_near_pairs_of_block, table), blocks) for pair in pairs]


def _near_pairs_of_block(table: HashTable, rows: range) -> list[tuple[str, str]]:
    pairs = []
    row_hashes = table.phash[rows.start : rows.stop, np.newaxis]  # uint64 [rows, 1]
    for start in range(rows.start, len(table.keys), COLUMNS):
        column_hashes = table.phash[start : start + COLUMNS]  # uint64 [columns]
        bits = np.bitwise_count(row_hashes ^ column_hashes)  # uint8 [rows, columns]
        row, column = np.nonzero(bits <= MAX_PHASH_BITS)
        a = row + rows.start
        b = column + start
        near = (a < b) & (np.bitwise_count(table.dhash[a] ^ table.dhash[b]) <= MAX_DHASH_BITS)
        pairs += [(table.keys[one], table.keys[other]) for one, other in zip(a[near], b[near], strict=True)]
    return pairs


def duplicate_pairs(
    source: Source,
    images: Sequence[SourceImage],
    fingerprints: Mapping[str, Fingerprint],
    near: Iterable[tuple[str, str]],
) -> list[DuplicatePair]:
    """Return all pairs of duplicates, in order; `near` is what `near_pairs` found, and its images are read again."""
    exact = _equal_files(fingerprints)
    candidates = [pair for pair in near if pair not in exact]
    by_id = {image.source_id: image for image in images}
    pixels = {key: _pixels_sha256(source.read(by_id[key])) for key in {key for pair in candidates for key in pair}}
    pairs = [DuplicatePair(a, b, "file") for a, b in exact]
    pairs += [DuplicatePair(a, b, "pixels" if pixels[a] == pixels[b] else "near") for a, b in candidates]
    return sorted(pairs)


def _equal_files(fingerprints: Mapping[str, Fingerprint]) -> set[tuple[str, str]]:
    """Return the pairs of keys whose files have the same bytes."""
    keys_of: dict[str, list[str]] = defaultdict(list)
    for key, entry in fingerprints.items():
        keys_of[entry.sha256].append(key)
    return {pair for keys in keys_of.values() for pair in combinations(sorted(keys), 2)}


def _pixels_sha256(data: bytes) -> str:
    """Return the SHA-256 of an image's size and pixels; of the file if it cannot be decoded completely."""
    try:
        decoded = images.decode(data)
    except InvalidImage:
        return sha256_hex(data)
    digest = hashlib.sha256(repr(decoded.shape).encode())
    digest.update(decoded.data)
    return digest.hexdigest()
