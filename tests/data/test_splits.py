"""Splits: complete, disjoint, stratified, and the same on every machine and in every order."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dogbreed.data.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    Candidate,
    assign_splits,
    hash_order,
    sample_per_group,
    stratified_sample,
    train_test_leaks,
)

Triple = tuple[str, str, str]  # class, source id, published split


def assigned(images: list[Triple], mode: str, seed: int) -> dict[str, str]:
    return assign_splits([Candidate(key, name, published) for name, key, published in images], mode, seed)


@st.composite
def archives(draw: st.DrawFn) -> list[Triple]:
    """Images of one to four classes, each with 0 to 40 train and 0 to 40 test images."""
    images = []
    for name in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)):
        train, test = draw(st.integers(0, 40)), draw(st.integers(0, 40))
        splits = [TRAIN] * train + [TEST] * test
        images += [(name, f"{name}/{number}", split) for number, split in enumerate(splits)]
    return images


modes = st.sampled_from(["official", "stratified"])
seeds = st.integers(0, 2**31)


@given(archives(), modes, seeds)
def test_every_image_gets_exactly_one_split(images: list[Triple], mode: str, seed: int) -> None:
    splits = assigned(images, mode, seed)
    assert splits.keys() == {key for _, key, _ in images}
    assert set(splits.values()) <= {TRAIN, VALIDATION, TEST}


@given(archives(), seeds)
def test_the_official_test_images_are_the_test_split(images: list[Triple], seed: int) -> None:
    splits = assigned(images, "official", seed)
    for _, key, official in images:
        assert (splits[key] == TEST) == (official == TEST)


@given(archives(), seeds)
def test_a_tenth_of_each_classes_train_images_is_validation(images: list[Triple], seed: int) -> None:
    splits = assigned(images, "official", seed)
    train = Counter(name for name, _, official in images if official == TRAIN)
    validation = Counter(name for name, key, _ in images if splits[key] == VALIDATION)
    assert all(abs(validation[name] - 0.1 * count) <= 1 for name, count in train.items())


@given(archives(), seeds)
def test_stratified_splits_share_out_each_class_within_one_image(images: list[Triple], seed: int) -> None:
    splits = assigned(images, "stratified", seed)
    for name, count in Counter(name for name, _, _ in images).items():
        own = Counter(splits[key] for other, key, _ in images if other == name)
        assert abs(own[TEST] - 0.2 * count) <= 1
        assert abs(own[VALIDATION] - 0.08 * count) <= 1
        assert abs(own[TRAIN] - 0.72 * count) <= 1


@given(archives(), modes, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(
    images: list[Triple], mode: str, seed: int, shuffler: random.Random
) -> None:
    shuffled = list(images)
    shuffler.shuffle(shuffled)
    assert assigned(shuffled, mode, seed) == assigned(images, mode, seed)


@given(archives(), modes, seeds)
def test_a_classes_split_does_not_depend_on_the_other_classes(images: list[Triple], mode: str, seed: int) -> None:
    alone = [image for image in images if image[0] == images[0][0]] if images else []
    splits = assigned(images, mode, seed)
    assert assigned(alone, mode, seed) == {key: splits[key] for _, key, _ in alone}


def test_another_seed_carves_another_validation_split_of_the_same_size() -> None:
    images = [("a", f"a/{number}", TRAIN) for number in range(100)]
    one, other = ({key for key, split in assigned(images, "official", seed).items() if split == VALIDATION}
                  for seed in (0, 1))  # fmt: skip
    assert len(one) == len(other) == 10
    assert one != other


def test_the_split_of_a_published_image_never_changes() -> None:
    images = [("a", f"n02085620-Chihuahua/n02085620_{number}", TRAIN) for number in range(20)]
    validation = sorted(key for key, split in assigned(images, "official", 0).items() if split == VALIDATION)
    assert validation == ["n02085620-Chihuahua/n02085620_12", "n02085620-Chihuahua/n02085620_2"]


def test_the_order_is_the_hash_of_seed_and_key() -> None:
    assert hash_order("a/1") == "6fb1c08f49aaaee6a611586dce4e82c47cb394186e186db1e81f3d180569088d"
    assert hash_order("a/1", seed=1) != hash_order("a/1")


def test_the_first_of_each_class_are_a_part_of_more_of_them() -> None:
    pairs = [(name, f"{name}/{number}") for name in "ab" for number in range(10)]
    three, five = sample_per_group(pairs, 3), sample_per_group(pairs, 5)
    assert three < five
    assert Counter(key[0] for key in three) == {"a": 3, "b": 3}
    assert sample_per_group(pairs, 99) == {key for _, key in pairs}


def test_a_share_is_taken_of_the_images_of_each_class() -> None:
    units = {"a": [f"a/{number}" for number in range(10)], "b": [f"b/{number}" for number in range(4)]}
    sizes = dict.fromkeys(units["a"] + units["b"], 1)
    assert stratified_sample(units, sizes, 0.25) == {"a/0", "a/1", "b/0"}
    assert stratified_sample(units, sizes, 0) == set()


def test_a_large_unit_is_passed_over_and_what_is_missing_is_made_up_for_in_the_next_class() -> None:
    units = {"a": ["a/0", "a/1"], "b": [f"b/{number}" for number in range(20)]}
    sizes = {**dict.fromkeys(units["b"], 1), "a/0": 9, "a/1": 9}
    assert stratified_sample(units, sizes, 0.2) == {f"b/{number}" for number in range(8)}


def test_a_class_never_loses_more_than_half_of_its_images_to_a_sample() -> None:
    units = {"a": ["a/0"], "b": ["b/0", "b/1", "b/2", "b/3"]}
    sizes = {"a/0": 90, **dict.fromkeys(units["b"], 1)}
    assert stratified_sample(units, sizes, 0.25) == {"b/0", "b/1"}


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.integers(1, 20), min_size=20, max_size=30), min_size=1, max_size=4), seeds)
def test_units_of_any_size_do_not_move_a_split_off_its_share(classes: list[list[int]], seed: int) -> None:
    candidates, unit = [], {}
    for label, counts in enumerate(classes):
        for number, count in enumerate(counts):
            ids = [f"{label}/{number}/{copy}" for copy in range(count)]
            candidates += [Candidate(source_id, str(label)) for source_id in ids]
            unit |= dict.fromkeys(ids, ids[0])
    splits = assign_splits(candidates, "stratified", seed, unit)
    counts = Counter(splits.values())
    assert all(splits[key] == splits[first] for key, first in unit.items())
    assert abs(counts[TEST] - 0.2 * len(candidates)) <= 11
    assert abs(counts[VALIDATION] - 0.1 * (len(candidates) - counts[TEST])) <= 11


def test_leaks_are_what_shares_a_group_with_a_held_out_image() -> None:
    group = {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}
    assert train_test_leaks(group, {"c"}) == {"a", "b"}
    assert train_test_leaks(group, {"q"}) == set()
