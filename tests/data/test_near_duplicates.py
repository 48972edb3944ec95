"""Near-duplicates: all near pairs count, few links are kept, and no group is wide."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dogbreed.data import near_duplicates
from dogbreed.data.fingerprints import Fingerprint
from dogbreed.data.near_duplicates import (
    MAX_DHASH_BITS,
    MAX_PHASH_BITS,
    MAX_STEPS,
    HashTable,
    divide_into_groups,
    near_links,
)

CHAIN = [2**n - 1 for n in range(64)]  # hashes each of which differs from the next one in one bit


def table_of(words: np.ndarray, ranks: list[int] | None = None) -> HashTable:
    """Return a table of these hashes, [2, n], under the names 00, 01, ..."""
    count = words.shape[1]
    return HashTable([f"{number:02}" for number in range(count)], *words, np.array(ranks or [0] * count, np.uint8))


def near_pairs(words: np.ndarray) -> set[tuple[str, str]]:
    """Return all near pairs of names, found one after the other."""
    pairs = [(a, b) for a in range(words.shape[1]) for b in range(a + 1, words.shape[1])]
    differing = [[(int(hashes[a]) ^ int(hashes[b])).bit_count() for a, b in pairs] for hashes in words]
    found = zip(pairs, *differing, strict=True)
    return {(f"{a:02}", f"{b:02}") for (a, b), p, d in found if p <= MAX_PHASH_BITS and d <= MAX_DHASH_BITS}


def components(names: list[str], pairs: set[tuple[str, str]]) -> set[frozenset[str]]:
    sets = {name: {name} for name in names}
    for a, b in pairs:
        if sets[a] is not sets[b]:
            sets[a] |= sets[b]
            for name in sets[b]:
                sets[name] = sets[a]
    return {frozenset(found) for found in sets.values()}


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 5), (64, 8192)])
@pytest.mark.parametrize("bits", [14, 24])  # so few that many are near, and fewer
def test_links_connect_what_all_near_pairs_connect_whatever_is_compared_at_a_time(
    rows: int, columns: int, bits: int, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "ROWS", rows)
    monkeypatch.setattr(near_duplicates, "COLUMNS", columns)
    words = np.random.default_rng(0).integers(0, 2**bits, (2, 50), np.uint64)
    expected, table = near_pairs(words), table_of(words)
    parts = [near_links(table, part, pool) for part in (range(20), range(20, 50))]
    assert all(len(part) < 50 for part in parts)
    assert len(expected) > 4
    assert components(table.keys, {pair for part in parts for pair in part}) == components(table.keys, expected)


def test_thousands_of_frames_that_all_are_near_have_fewer_links_than_frames(pool: ThreadPoolExecutor) -> None:
    words = np.arange(3000, dtype=np.uint64)  # at most 12 bits, of which few differ
    hashes = HashTable([str(word) for word in words], words & np.uint64(255), words >> np.uint64(8), words * 0)  # type: ignore[arg-type]
    links = near_links(hashes, range(3000), pool)
    assert len(links) == 2999
    ((group,),) = divide_into_groups(hashes, links)
    assert group == hashes.keys


def test_a_group_is_what_few_steps_reach_from_its_first_image(pool: ThreadPoolExecutor) -> None:
    table = table_of(np.array([CHAIN, CHAIN], np.uint64))
    (groups,) = divide_into_groups(table, near_links(table, range(64), pool))
    reach = MAX_STEPS * min(MAX_PHASH_BITS, MAX_DHASH_BITS)
    assert [(group[0], len(group)) for group in groups] == [("00", reach + 1), ("17", 17), ("34", 17), ("51", 13)]


def test_near_duplicates_of_a_test_image_are_in_the_group_of_a_test_image(pool: ThreadPoolExecutor) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        words = np.array([CHAIN, CHAIN], np.uint64)[:, random.permutation(64)]
        ranks = sorted(random.integers(0, 3, 64).tolist())
        table = table_of(words, ranks)
        (groups,) = divide_into_groups(table, near_links(table, range(64), pool))
        rank = dict(zip(table.keys, ranks, strict=True))
        best = {name: min(rank[other] for other in group) for group in groups for name in group}
        for a, b in near_pairs(words):
            first, other = sorted((a, b), key=rank.__getitem__)
            if rank[first] < rank[other] and best[first] == rank[first]:
                assert best[other] <= rank[first]


def test_equal_hashes_are_one_row_and_images_without_have_none() -> None:
    found = {
        "b": Fingerprint("1", 7, 8),
        "a": Fingerprint("2", 7, 8),
        "c": Fingerprint("3"),
        "d": Fingerprint("4", 7, 9),
    }
    table = HashTable.from_fingerprints(found, {"b": 0, "a": 2, "c": 2, "d": 2})
    assert table.keys == ["b", "d"]
    assert [array.tolist() for array in (table.phash, table.dhash, table.ranks)] == [[7, 7], [8, 9], [0, 2]]
    assert HashTable.from_fingerprints({"c": Fingerprint("3")}, {"c": 2}).keys == []
