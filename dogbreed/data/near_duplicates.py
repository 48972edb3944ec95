"""Photos that are copies of one another, which a split must not tear apart.

Equal files and equal pixels are exact copies. Near copies (resized, recoloured, framed, the next frame of a series)
are found by two perceptual hashes of 64 bits, as `imagehash` computes them (http://www.hackerfactor.com/blog, "Looks
Like It" and "Kind of Like That"). Both must agree: alone, either takes dogs on plain lawns for one another.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, TypeVar

import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import DataError
from dogbreed.data import images
from dogbreed.data.images import InvalidImage
from dogbreed.data.manifest import DuplicatePair
from dogbreed.data.raw import Source, SourceImage

# bits of 64 that may differ; every pair at or under both was a copy in the small archive, docs/data.md
PERCEPTUAL, GRADIENT = 10, 8
SIDE = 96  # pixels to which a JPEG is reduced while it is decoded: three times what the hashes look at
ROWS, COLUMNS = 64, 8192  # photos that are compared at a time with so many others: 4 MB, as a core's cache holds

IMAGENET_NAME = re.compile(r"n\d{8}_\d+")
WHOLE_BREED = re.compile(r"^(n\d{8})(?:-.*)?$", re.MULTILINE)

K = TypeVar("K")


@dataclass(frozen=True)
class Fingerprint:
    """What tells duplicates: SHA-256 of the file, and two hashes of 64 bits, None for what cannot be decoded."""

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


def fingerprint(data: bytes) -> Fingerprint:
    """Return the fingerprint of an encoded photo, whether or not it can be decoded."""
    file = sha256_hex(data)
    try:
        small = images.decode_gray(data, SIDE)
    except InvalidImage:
        return Fingerprint(file)
    return Fingerprint(file, _bits(imagehash.phash(small)), _bits(imagehash.dhash(small)))


def _bits(found: imagehash.ImageHash) -> int:
    return int(str(found), 16)


def fingerprint_all(source: Source, photos: Sequence[SourceImage], pool: ThreadPoolExecutor) -> dict[str, Fingerprint]:
    """Read the photos and return key -> fingerprint, in their order."""
    read = pool.map(lambda photo: fingerprint(source.read(photo)), photos)
    return {photo.key: found for photo, found in zip(photos, read, strict=True)}


def duplicate_pairs(
    source: Source, photos: Sequence[SourceImage], prints: Mapping[str, Fingerprint], near: Iterable[tuple[str, str]]
) -> list[DuplicatePair]:
    """Return every pair of copies, in order; the photos of `near`, all that `near_pairs` finds, are read once more."""
    by_key = {photo.key: photo for photo in photos}
    exact = [
        DuplicatePair(a, b, "file")
        for same in _equal((p.sha256, key) for key, p in prints.items())
        for a, b in combinations(same, 2)
    ]
    known = {(pair.source_id, pair.other) for pair in exact}
    other = [pair for pair in near if pair not in known]
    pixels = {key: _pixels(source.read(by_key[key])) for key in {key for pair in other for key in pair}}
    return sorted(exact + [DuplicatePair(a, b, "pixels" if pixels[a] == pixels[b] else "near") for a, b in other])


def _equal(pairs: Iterable[tuple[K, str]]) -> Iterator[list[str]]:
    """Yield the keys that share a value, from (value, key) pairs."""
    groups: dict[K, list[str]] = defaultdict(list)
    for value, key in pairs:
        groups[value].append(key)
    yield from (sorted(keys) for keys in groups.values() if len(keys) > 1)


def _pixels(data: bytes) -> str:
    """Return the SHA-256 of a photo's size and pixels, of the file where it cannot be decoded whole."""
    try:
        decoded = images.decode(data)
    except InvalidImage:
        return sha256_hex(data)
    return sha256_hex(repr(decoded.shape).encode() + decoded.tobytes())


@dataclass(frozen=True)
class HashTable:
    """Both hashes of the photos that can be decoded, as uint64 [photos], in the order of their sorted keys."""

    keys: list[str]
    phash: np.ndarray
    dhash: np.ndarray

    @classmethod
    def from_fingerprints(cls, prints: Mapping[str, Fingerprint]) -> "HashTable":
        """Return the hashes that the fingerprints hold."""
        keys = sorted(key for key, found in prints.items() if found.phash is not None)
        phash, dhash = [prints[key].phash for key in keys], [prints[key].dhash for key in keys]
        return cls(keys, np.array(phash, np.uint64), np.array(dhash, np.uint64))


def near_pairs(table: HashTable, rows: range, pool: ThreadPoolExecutor) -> list[tuple[str, str]]:
    """Return the pairs of keys whose hashes differ in few bits: a photo of `rows` and one that comes after it."""
    blocks = [range(start, min(start + ROWS, rows.stop)) for start in range(rows.start, rows.stop, ROWS)]
    return [pair for pairs in pool.map(partial(_near, table), blocks) for pair in pairs]


def _near(table: HashTable, rows: range) -> list[tuple[str, str]]:
    found = []
    phash, dhash = table.phash, table.dhash
    for start in range(rows.start, len(table.keys), COLUMNS):
        differing = np.bitwise_count(phash[rows.start : rows.stop, None] ^ phash[start : start + COLUMNS])
        a, b = np.nonzero(differing <= PERCEPTUAL)
        a, b = a + rows.start, b + start
        chosen = (a < b) & (np.bitwise_count(dhash[a] ^ dhash[b]) <= GRADIENT)
        found += [(table.keys[one], table.keys[other]) for one, other in zip(a[chosen], b[chosen], strict=True)]
    return found


def connected_groups(copies: Iterable[DuplicatePair]) -> dict[str, str]:
    """Return key -> the first key of its group, for photos that are copies of one another over any steps."""
    pairs = [(pair.source_id, pair.other) for pair in copies]
    keys = sorted({key for pair in pairs for key in pair})
    place = {key: number for number, key in enumerate(keys)}
    rows, columns = [place[a] for a, _ in pairs], [place[b] for _, b in pairs]
    links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(keys), len(keys)))
    _, labels = connected_components(links, directed=False) if keys else (0, [])
    first: dict[int, str] = {}
    return {key: first.setdefault(int(label), key) for key, label in zip(keys, labels, strict=True)}


def train_test_leaks(group: Mapping[str, str], test: set[str]) -> set[str]:
    """Return the photos outside `test` that are copies of a photo in `test`."""
    touched = {representative for key, representative in group.items() if key in test}
    return {key for key, representative in group.items() if representative in touched and key not in test}


def parse_image_list(listing: bytes) -> frozenset[str]:
    """Return what a list names: photos, as n02085620_7, and whole breeds, as n02085620 on a line of their own.

    ILSVRC's train_cls.txt is such a list, and any text with such names. DataError when there is none.
    """
    text = listing.decode("ascii", "replace").replace("\r", "")
    names = frozenset(IMAGENET_NAME.findall(text)) | frozenset(WHOLE_BREED.findall(text))
    if not names:
        raise DataError("the list names no photo as n02085620_7; give ILSVRC's train_cls.txt or one like it")
    return names


def was_seen(key: str, names: frozenset[str]) -> bool:
    """Return whether the photo behind a record's key, or its whole breed, is among the names."""
    name = key.rpartition("/")[2].partition("#")[0]
    return name in names or name.partition("_")[0] in names


def draw_duplicates(source: Source, copies: Sequence[DuplicatePair], count: int = 60) -> Image.Image:
    """Return the first pairs as one picture, six pairs a row, each photo beside its copy."""
    by_key = {photo.key: photo for photo in source.photos}
    return images.contact_sheet(
        [source.read(by_key[key]) for c in copies[:count] for key in (c.source_id, c.other)], side=128
    )
