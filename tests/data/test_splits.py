"""Splits: complete, disjoint, stratified, and the same on every machine and in every order."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dogbreed.data.splits import TEST, TRAIN, VALIDATION, assign_splits, hash_order, sample_per_group, stratified_sample

Triple = tuple[str, str, str]


@st.composite
def archives(draw: st.DrawFn) -> list[Triple]:
    """Photos of one to four breeds, each with 0 to 40 train and 0 to 40 test photos."""
    photos = []
    for breed in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)):
        train, test = draw(st.integers(0, 40)), draw(st.integers(0, 40))
        splits = [TRAIN] * train + [TEST] * test
        photos += [(breed, f"{breed}/{number}", split) for number, split in enumerate(splits)]
    return photos


modes = st.sampled_from(["official", "stratified"])
seeds = st.integers(0, 2**31)


@given(archives(), modes, seeds)
def test_every_photo_gets_exactly_one_split(photos: list[Triple], mode: str, seed: int) -> None:
    splits = assign_splits(photos, mode, seed)
    assert splits.keys() == {key for _, key, _ in photos}
    assert set(splits.values()) <= {TRAIN, VALIDATION, TEST}


@given(archives(), seeds)
def test_the_official_test_photos_are_the_test_split(photos: list[Triple], seed: int) -> None:
    splits = assign_splits(photos, "official", seed)
    for _, key, official in photos:
        assert (splits[key] == TEST) == (official == TEST)


@given(archives(), seeds)
def test_a_tenth_of_each_breeds_train_photos_is_validation(photos: list[Triple], seed: int) -> None:
    splits = assign_splits(photos, "official", seed)
    train = Counter(breed for breed, _, official in photos if official == TRAIN)
    validation = Counter(breed for breed, key, _ in photos if splits[key] == VALIDATION)
    assert all(abs(validation[breed] - 0.1 * count) <= 1 for breed, count in train.items())


@given(archives(), seeds)
def test_stratified_splits_share_out_each_breed_within_one_photo(photos: list[Triple], seed: int) -> None:
    splits = assign_splits(photos, "stratified", seed)
    for breed, count in Counter(breed for breed, _, _ in photos).items():
        own = Counter(splits[key] for name, key, _ in photos if name == breed)
        assert abs(own[TEST] - 0.2 * count) <= 1
        assert abs(own[VALIDATION] - 0.08 * count) <= 1
        assert abs(own[TRAIN] - 0.72 * count) <= 1


@given(archives(), modes, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_photos_does_not_matter(
    photos: list[Triple], mode: str, seed: int, shuffler: random.Random
) -> None:
    shuffled = list(photos)
    shuffler.shuffle(shuffled)
    assert assign_splits(shuffled, mode, seed) == assign_splits(photos, mode, seed)


@given(archives(), modes, seeds)
def test_a_breeds_split_does_not_depend_on_the_other_breeds(photos: list[Triple], mode: str, seed: int) -> None:
    alone = [photo for photo in photos if photo[0] == photos[0][0]] if photos else []
    splits = assign_splits(photos, mode, seed)
    assert assign_splits(alone, mode, seed) == {key: splits[key] for _, key, _ in alone}


def test_another_seed_carves_another_validation_split_of_the_same_size() -> None:
    photos = [("a", f"a/{number}", TRAIN) for number in range(100)]
    one, other = ({key for key, split in assign_splits(photos, "official", seed).items() if split == VALIDATION}
                  for seed in (0, 1))  # fmt: skip
    assert len(one) == len(other) == 10
    assert one != other


def test_the_split_of_a_published_photo_never_changes() -> None:
    photos = [("a", f"n02085620-Chihuahua/n02085620_{number}", TRAIN) for number in range(20)]
    validation = sorted(key for key, split in assign_splits(photos, "official", 0).items() if split == VALIDATION)
    assert validation == ["n02085620-Chihuahua/n02085620_12", "n02085620-Chihuahua/n02085620_2"]


def test_the_rank_is_the_hash_of_seed_and_key() -> None:
    assert hash_order("a/1") == "6fb1c08f49aaaee6a611586dce4e82c47cb394186e186db1e81f3d180569088d"
    assert hash_order("a/1", seed=1) != hash_order("a/1")


def test_the_first_of_each_breed_are_a_part_of_more_of_them() -> None:
    pairs = [(breed, f"{breed}/{number}") for breed in "ab" for number in range(10)]
    three, five = sample_per_group(pairs, 3), sample_per_group(pairs, 5)
    assert three < five
    assert Counter(key[0] for key in three) == {"a": 3, "b": 3}
    assert sample_per_group(pairs, 99) == {key for _, key in pairs}


def test_a_share_is_carved_from_each_group() -> None:
    pairs = [("a", f"a/{number}") for number in range(10)] + [("b", f"b/{number}") for number in range(4)]
    assert Counter(key[0] for key in stratified_sample(pairs, 0.5, seed=3)) == {"a": 5, "b": 2}
    assert stratified_sample(pairs, 0, seed=3) == set()
