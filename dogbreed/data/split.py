"""Which photo belongs to which split: stable, stratified by breed, independent of order and machine."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
VALIDATION_FRACTION = 0.1  # of the photos that are not test: 10 of the official 100 a breed
TEST_FRACTION = 0.2  # of each breed, for sources without an official split


def rank(key: str, seed: int = 0) -> str:
    """Return the place of `key` in a fixed random order: the SHA-256 of seed and key."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def first_of_each(keys: Iterable[tuple[str, str]], count: int) -> set[str]:
    """Return the first `count` keys of each group in fixed random order, from (group, key) pairs."""
    return {key for members in _ranked(keys, seed=0).values() for key in members[:count]}


def carve(keys: Iterable[tuple[str, str]], fraction: float, seed: int) -> set[str]:
    """Return `fraction` of the keys of each group (rounded), from (group, key) pairs."""
    return {key for members in _ranked(keys, seed).values() for key in members[: round(fraction * len(members))]}


def _ranked(keys: Iterable[tuple[str, str]], seed: int) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for group, key in keys:
        groups[group].append(key)
    return {group: sorted(members, key=lambda key: rank(key, seed)) for group, members in groups.items()}


def assign(photos: Sequence[tuple[str, str, str]], mode: str, seed: int) -> dict[str, str]:
    """Return key -> split for (breed, key, official split) triples.

    `official` keeps the published test part and carves validation from train only; `stratified`
    carves test and validation from everything.
    """
    if mode == "official":
        test = {key for _, key, official in photos if official == TEST}
    else:
        test = carve([(breed, key) for breed, key, _ in photos], TEST_FRACTION, seed)
    rest = [(breed, key) for breed, key, _ in photos if key not in test]
    validation = carve(rest, VALIDATION_FRACTION, seed)
    return {key: TEST if key in test else VALIDATION if key in validation else TRAIN for _, key, _ in photos}
