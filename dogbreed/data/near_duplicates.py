"""Near-duplicates: images whose perceptual hashes differ in few bits, in groups of limited diameter.

Near-duplicates (resized, recoloured, framed, the next frame of a series) agree in both hashes; either alone confuses
dogs on plain lawns.

All pairs are compared, but none is kept: links that connect the same images are enough, fewer than there are images.
What is connected may be a chain of thousands of frames whose ends have nothing in common, so a group holds its first
image and what is reached from it in at most MAX_STEPS near-duplicates.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dogbreed.data.fingerprints import Fingerprint

# bits of 64 that may differ; every pair at or under both was a duplicate in the small archive, docs/data.md
MAX_PHASH_BITS, MAX_DHASH_BITS = 10, 8
MAX_STEPS = 2  # from the first image of a group to any other one, over near-duplicates
ROWS, COLUMNS = 64, 8192  # images that are compared at a time with so many others: 4 MB, which a core's cache holds

Rows = npt.NDArray[np.int64]  # positions in a HashTable
Mask = npt.NDArray[np.bool_]


class MaxBits(NamedTuple):
    """In how many bits the hashes of near images may differ."""

    phash: int
    dhash: int


NEAR = MaxBits(MAX_PHASH_BITS, MAX_DHASH_BITS)
# of `approximate_fingerprint`, so wide that no near pair is missed: its hashes differ from those of `fingerprint` by at
# most 6 and 6 bits in 20,510 images, which moves the distances of the 74 near pairs of docs/data.md by at most 2 and 3
SIMILAR = MaxBits(MAX_PHASH_BITS + 4, MAX_DHASH_BITS + 6)


@dataclass(frozen=True)
class HashTable:
    """The distinct pairs of hashes, uint64 [n] each, in the order of the images that have them."""

    keys: list[str]  # the first image of each
    phash: npt.NDArray[np.uint64]
    dhash: npt.NDArray[np.uint64]
    ranks: npt.NDArray[np.uint8]  # never falling: 0 test, 1 validation, 2 others of a published split
    max_bits: MaxBits = NEAR

    @classmethod
    def from_fingerprints(
        cls, fingerprints: Mapping[str, Fingerprint], ranks: Mapping[str, int], max_bits: MaxBits = NEAR
    ) -> "HashTable":
        """Return the hashes of the fingerprints that have any; their order is that of the table."""
        first: dict[tuple[int | None, int | None], str] = {}
        for key, entry in fingerprints.items():
            if entry.phash is not None:
                first.setdefault((entry.phash, entry.dhash), key)
        keys = list(first.values())
        phash, dhash = np.array(list(first), np.uint64).reshape(-1, 2).T.copy()
        return cls(keys, phash, dhash, np.array([ranks[key] for key in keys], np.uint8), max_bits)


def near_links(table: HashTable, rows: range, pool: ThreadPoolExecutor) -> list[tuple[str, str]]:
    """Return pairs of keys, fewer than there are keys, that connect what all near pairs of the rows connect.

    Each of `rows` is compared with all later ones.
    """
    blocks = [range(start, min(start + ROWS, rows.stop)) for start in range(rows.start, rows.stop, ROWS)]
    pairs = np.concatenate([np.empty((0, 2), np.int64), *pool.map(partial(_links_of_block, table), blocks)])
    return [(table.keys[a], table.keys[b]) for a, b in _spanning_links(pairs, len(table.keys))]


def _links_of_block(table: HashTable, rows: range) -> Rows:
    """Return links [m, 2] between the rows of a block and later ones."""
    links = [np.empty((0, 2), np.int64)]
    for start in range(rows.start, len(table.keys), COLUMNS):
        columns = np.arange(start, min(start + COLUMNS, len(table.keys)))
        row, column = np.nonzero(_is_near(table, np.arange(rows.start, rows.stop), columns))
        pairs = np.column_stack([row + rows.start, column + start])
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        links.append(_spanning_links(pairs, len(table.keys)) if len(pairs) > COLUMNS else pairs)
    return np.concatenate(links)


def _is_near(table: HashTable, a: Rows, b: Rows) -> Mask:
    """Return whether the hashes of rows `a` and `b` differ in few bits, bool [len(a), len(b)]."""
    near: Mask = np.bitwise_count(table.phash[a, np.newaxis] ^ table.phash[b]) <= table.max_bits.phash
    row, column = np.nonzero(near)
    near[row, column] = np.bitwise_count(table.dhash[a[row]] ^ table.dhash[b[column]]) <= table.max_bits.dhash
    return near


def _spanning_links(pairs: Rows, count: int) -> Rows:
    """Return a pair (first of its component, row) for each other row of `count` that the pairs connect, [m, 2]."""
    graph = coo_array((np.ones(len(pairs), bool), pairs.T), (count, count))
    _, labels = connected_components(graph, directed=False)
    _, first_of = np.unique(labels, return_index=True)
    first = first_of[labels]
    others = np.flatnonzero(first != np.arange(count))
    return np.column_stack([first[others], others])


def divide_into_groups(table: HashTable, links: Iterable[tuple[str, str]]) -> list[list[list[str]]]:
    """Return for each set of connected keys its groups, at most MAX_STEPS around their first key each.

    A key belongs to the first group that reaches it. Near-duplicates of a test image are always in the group of a test
    image, and those of a validation image in the group of a validation or test image.
    """
    place = {key: row for row, key in enumerate(table.keys)}
    pairs = np.array([(place[a], place[b]) for a, b in links], np.int64).reshape(-1, 2)
    components: dict[Any, list[Any]] = defaultdict(list)
    for first, other in _spanning_links(pairs, len(table.keys)):
        components[first].append(other)
    found = [_groups_of(table, np.array([first, *others])) for first, others in components.items()]
    return [[[table.keys[row] for row in group] for group in groups] for groups in found]


def _groups_of(table: HashTable, rows: Rows) -> list[Rows]:
    groups = []
    while len(rows):
        group, rows = _first_group(table, rows)
        groups.append(group)
    return groups


def _first_group(table: HashTable, rows: Rows) -> tuple[Rows, Rows]:
    """Return the first of the rows with what is reached from it, and the rest, both in order."""
    edge, rest = rows[:1], rows[1:]
    group = [edge]
    for _ in range(MAX_STEPS):
        near = _is_near_any(table, rest, edge)
        edge, rest = rest[near], rest[~near]
        group.append(edge)
    for rank in range(int(table.ranks.max())):  # one step more, from held-out images only
        near = _is_near_any(table, rest, edge[table.ranks[edge] == rank]) & (table.ranks[rest] > rank)
        group.append(rest[near])
        rest = rest[~near]
    return np.sort(np.concatenate(group)), rest


def _is_near_any(table: HashTable, rows: Rows, edge: Rows) -> Mask:
    """Return whether each row is near to any of `edge`, bool [len(rows)]."""
    near = np.zeros(len(rows), bool)
    for start in range(0, len(rows), COLUMNS):
        for first in range(0, len(edge), ROWS):
            part = _is_near(table, edge[first : first + ROWS], rows[start : start + COLUMNS])
            near[start : start + COLUMNS] |= part.any(0)
    return near
