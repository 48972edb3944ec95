"""Assignment of images to train, validation and test: published or stratified by class; duplicates stay together."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dogbreed.core.canonical_json import sha256_hex

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
VALIDATION_FRACTION = 0.1  # of the images that are not test: 10 of the published 100 of a class
TEST_FRACTION = 0.2  # of each class, for sources without a published split


def describe_empty(split: str, mode: str) -> str:
    """Return that a dataset has no image of a split, and what to do; `mode` is that of `assign_splits`."""
    if mode == "official" and split == TEST:
        advice = "the source publishes none: use --split stratified, or evaluate with --split validation"
    else:
        advice = "preprocess more images of each class"
    return f"the dataset has no {split} images; {advice}"


@dataclass(frozen=True)
class Candidate:
    """An image that is to be assigned to a split."""

    source_id: str
    class_name: str
    published: str = TRAIN  # the split that it was published in, train if in none


def hash_order(source_id: str, seed: int = 0) -> str:
    """Return the place of an image in a fixed random order: the SHA-256 of seed and id."""
    return sha256_hex(f"{seed}:{source_id}".encode())


def sample_per_group(members: Iterable[tuple[str, str]], count: int) -> set[str]:
    """Return the first `count` ids of each group in fixed random order, from (group, id) pairs."""
    return {source_id for ids in _ids_by_group(members, seed=0).values() for source_id in ids[:count]}


def _ids_by_group(members: Iterable[tuple[str, str]], seed: int) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for group, source_id in members:
        groups[group].append(source_id)
    return {group: sorted(ids, key=lambda source_id: hash_order(source_id, seed)) for group, ids in groups.items()}


def assign_splits(
    candidates: Sequence[Candidate], mode: str, seed: int, group: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return source id -> split.

    Args:
        candidates: the images.
        mode: official (published splits) or stratified (all splits are sampled).
        seed: of what is sampled.
        group: source id -> unit of duplicates; a unit is sampled as a whole.
    """
    return (official_splits if mode == "official" else stratified_splits)(candidates, seed, group or {})


def official_splits(candidates: Sequence[Candidate], seed: int, group: Mapping[str, str]) -> dict[str, str]:
    """Return the published splits; validation is sampled from train unless it was published too."""
    test = {candidate.source_id for candidate in candidates if candidate.published == TEST}
    validation = {candidate.source_id for candidate in candidates if candidate.published == VALIDATION}
    if not validation:
        rest = [candidate for candidate in candidates if candidate.source_id not in test]
        validation = _sample_groups(rest, VALIDATION_FRACTION, seed, group)
    return {candidate.source_id: _split_of(candidate, validation, test) for candidate in candidates}


def stratified_splits(candidates: Sequence[Candidate], seed: int, group: Mapping[str, str]) -> dict[str, str]:
    """Return splits of which test and validation are sampled from all images."""
    test = _sample_groups(candidates, TEST_FRACTION, seed, group)
    rest = [candidate for candidate in candidates if candidate.source_id not in test]
    validation = _sample_groups(rest, VALIDATION_FRACTION, seed, group)
    return {candidate.source_id: _split_of(candidate, validation, test) for candidate in candidates}


def _split_of(candidate: Candidate, validation: set[str], test: set[str]) -> str:
    if candidate.source_id in test:
        return TEST
    return VALIDATION if candidate.source_id in validation else TRAIN


def _sample_groups(candidates: Sequence[Candidate], fraction: float, seed: int, group: Mapping[str, str]) -> set[str]:
    """Return the ids of `fraction` of the images of each class (rounded), in units of duplicates."""
    class_of: dict[str, str] = {}  # of a unit: that of its first image
    sizes: Counter[str] = Counter()
    for candidate in sorted(candidates, key=lambda candidate: candidate.source_id):
        unit = group.get(candidate.source_id, candidate.source_id)
        class_of.setdefault(unit, candidate.class_name)
        sizes[unit] += 1
    units = _ids_by_group([(name, unit) for unit, name in class_of.items()], seed)
    sampled = stratified_sample(units, sizes, fraction)
    ids = [candidate.source_id for candidate in candidates]
    return {source_id for source_id in ids if group.get(source_id, source_id) in sampled}


def stratified_sample(units: Mapping[str, Sequence[str]], sizes: Mapping[str, int], fraction: float) -> set[str]:
    """Return units with `fraction` of the images of each class (rounded).

    A unit is taken if that brings the number of images nearer to what is wanted, and never if less than half of its
    class would be left. What is missing or too much is made up for in the next class.

    Args:
        units: class -> its units, in the order in which they are taken.
        sizes: unit -> number of its images.
        fraction: up to 0.25; of images without duplicates exactly the rounded number is taken.
    """
    sampled = set()
    missing = 0
    for name in sorted(units):
        total = sum(sizes[unit] for unit in units[name])
        missing += round(fraction * total)
        allowed = total // 2
        for unit in units[name]:
            if sizes[unit] < 2 * missing and sizes[unit] <= allowed:
                sampled.add(unit)
                missing -= sizes[unit]
                allowed -= sizes[unit]
    return sampled


def train_test_leaks(group: Mapping[str, str], held_out: set[str]) -> set[str]:
    """Return the keys outside `held_out` that share a group with a key in it."""
    touched = {first for key, first in group.items() if key in held_out}
    return {key for key, first in group.items() if first in touched and key not in held_out}
