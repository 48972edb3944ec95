"""Which photo belongs to which split: stable, stratified by breed, independent of order and machine."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dogbreed.core.canonical_json import sha256_hex

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
VALIDATION_FRACTION = 0.1  # of the photos that are not test: 10 of the official 100 a breed
TEST_FRACTION = 0.2  # of each breed, for sources without an official split


def hash_order(key: str, seed: int = 0) -> str:
    """Return the place of `key` in a fixed random order: the SHA-256 of seed and key."""
    return sha256_hex(f"{seed}:{key}".encode())


def sample_per_group(keys: Iterable[tuple[str, str]], count: int) -> set[str]:
    """Return the first `count` keys of each group in fixed random order, from (group, key) pairs."""
    return {key for members in _ranked(keys, seed=0).values() for key in members[:count]}


def stratified_sample(keys: Iterable[tuple[str, str]], fraction: float, seed: int) -> set[str]:
    """Return `fraction` of the keys of each group (rounded), from (group, key) pairs."""
    return {key for members in _ranked(keys, seed).values() for key in members[: round(fraction * len(members))]}


def _ranked(keys: Iterable[tuple[str, str]], seed: int) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for group, key in keys:
        groups[group].append(key)
    return {group: sorted(members, key=lambda key: hash_order(key, seed)) for group, members in groups.items()}


def assign_splits(
    photos: Sequence[tuple[str, str, str]], mode: str, seed: int, group: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return key -> split for (breed, key, official split) triples.

    `official` keeps the published test part and carves validation from train only, unless it was published too;
    `stratified` carves test and validation from everything. Keys with the same value in `group` come into the
    same carved part.
    """
    group = group or {}
    if mode == "official":
        test = {key for _, key, official in photos if official == TEST}
    else:
        test = _sample_groups([(breed, key) for breed, key, _ in photos], TEST_FRACTION, seed, group)
    rest = [(breed, key) for breed, key, _ in photos if key not in test]
    validation = {key for _, key, official in photos if mode == "official" and official == VALIDATION}
    validation = validation or _sample_groups(rest, VALIDATION_FRACTION, seed, group)
    return {key: TEST if key in test else VALIDATION if key in validation else TRAIN for _, key, _ in photos}


def _sample_groups(photos: Sequence[tuple[str, str]], fraction: float, seed: int, group: Mapping[str, str]) -> set[str]:
    """Carve whole groups of copies; a group counts once, for the breed of its first key."""
    breeds: dict[str, str] = {}
    for key, breed in sorted((key, breed) for breed, key in photos):
        breeds.setdefault(group.get(key, key), breed)
    chosen = stratified_sample([(breed, unit) for unit, breed in breeds.items()], fraction, seed)
    return {key for _, key in photos if group.get(key, key) in chosen}
