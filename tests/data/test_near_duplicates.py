"""Duplicates: found whatever was done to a file, kept in one split, never on both sides of a published test list."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from dogbreed.core.errors import ShutdownRequested
from dogbreed.core.storage import LocalStore
from dogbreed.data import near_duplicates
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import DuplicatePair
from dogbreed.data.near_duplicates import (
    MAX_DHASH_BITS,
    MAX_PHASH_BITS,
    HashTable,
    find_duplicates,
    fingerprint,
    near_pairs,
    own_first,
)
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.stanford_dogs import StanfordDogs


def picture(seed: int, side: int = 240) -> Image.Image:
    """A smooth random picture, as photos are, and unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int = 90, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


class FileSource:
    """A source in memory: the files by key; breed and official split are the key's first two parts."""

    digest = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.images = [SourceImage(key, key.split("/")[0], key.split("/")[1]) for key in sorted(files)]

    def read(self, image: SourceImage) -> bytes:
        return self.files[image.source_id]


ORIGINAL = picture(0)
CHANGED = {
    "file": encoded(ORIGINAL),
    "pixels": encoded(Image.open(io.BytesIO(encoded(ORIGINAL))), kind="PNG"),
    "smaller": encoded(ORIGINAL.resize((160, 120))),
    "worse": encoded(ORIGINAL, quality=30),
    "brighter": encoded(ImageEnhance.Brightness(ORIGINAL).enhance(1.15)),
    "gray": encoded(ORIGINAL.convert("L")),
    "framed": encoded(ImageOps.expand(ORIGINAL, 3, "black")),
}


def duplicates_of(source: FileSource | StanfordDogs, out: Path, pool: ThreadPoolExecutor) -> list[DuplicatePair]:
    plan = plan_dataset(source, DatasetConfig(split="stratified"))
    return find_duplicates(plan, LocalStore(out), pool)


@pytest.mark.parametrize("change", CHANGED)
def test_a_duplicate_is_found_whatever_was_done_to_it(change: str, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    others = {f"b/train/{seed}": encoded(picture(seed)) for seed in range(1, 40)}
    source = FileSource({"a/train/0": encoded(ORIGINAL), "a/test/0": CHANGED[change], **others})
    kind = change if change in ("file", "pixels") else "near"
    assert duplicates_of(source, tmp_path, pool) == [DuplicatePair("a/test/0", "a/train/0", kind)]


def test_images_that_cannot_be_decoded_are_duplicates_only_as_files(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    broken = encoded(ORIGINAL)[:300]
    source = FileSource({"a/train/0": broken, "a/train/1": broken, "a/train/2": broken[:200], "a/train/3": b""})
    assert duplicates_of(source, tmp_path, pool) == [DuplicatePair("a/train/0", "a/train/1", "file")]
    assert fingerprint(broken).phash is None


def test_workers_look_at_each_image_once_even_if_one_is_killed(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "IMAGES_PER_SHARD", 5)
    files = {f"a/train/{seed:02}": encoded(picture(seed)) for seed in range(20)}
    source = FileSource({**files, "a/train/19": encoded(picture(3))})
    plan, out, seen = plan_dataset(source, DatasetConfig(split="stratified")), LocalStore(tmp_path), list[str]()

    def read(image: SourceImage) -> bytes:
        if len(seen) == 10:
            raise ShutdownRequested
        seen.append(image.source_id)
        return source.files[image.source_id]

    monkeypatch.setattr(source, "read", read)
    with ThreadPoolExecutor(1) as one, pytest.raises(ShutdownRequested):
        find_duplicates(plan, out, one, index=1, workers=2)  # type: ignore[arg-type]
    order = [image.source_id for image in plan.images]
    assert set(seen) == {*order[5:10], *order[15:]}, "every second part is the second worker's"
    monkeypatch.setattr(source, "read", lambda image: seen.append(image.source_id) or source.files[image.source_id])
    found = find_duplicates(plan, out, pool, index=0, workers=2)
    assert found == [DuplicatePair("a/train/03", "a/train/19", "file")]
    assert sorted(seen) == sorted(order)
    assert find_duplicates(plan, out, pool) == found
    assert len(seen) == len(order), "what was found once is read back"


def test_workers_compare_each_image_once_even_if_one_is_killed(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "ROWS_PER_PART", 5)
    files = {f"a/train/{seed:02}": encoded(picture(seed)) for seed in range(18)}
    source = FileSource({**files, "a/train/18": b"no photo", "a/train/19": encoded(picture(3), quality=30)})
    plan, out, compared = plan_dataset(source, DatasetConfig(split="stratified")), LocalStore(tmp_path), list[range]()

    def compare(hashes: HashTable, rows: range, threads: ThreadPoolExecutor) -> list[tuple[str, str]]:
        if len(compared) == 2:
            raise ShutdownRequested
        compared.append(rows)
        return near_pairs(hashes, rows, threads)

    monkeypatch.setattr(near_duplicates, "near_pairs", compare)
    with pytest.raises(ShutdownRequested):
        find_duplicates(plan, out, pool, index=1, workers=2)
    assert {rows.start for rows in compared} == {5, 15}, "every second part is the second worker's"
    monkeypatch.setattr(
        near_duplicates,
        "near_pairs",
        lambda hashes, rows, threads: compared.append(rows) or near_pairs(hashes, rows, threads),
    )
    assert find_duplicates(plan, out, pool, index=0, workers=2) == [DuplicatePair("a/train/03", "a/train/19", "near")]
    assert sorted(row for rows in compared for row in rows) == list(range(19)), "what cannot be decoded has no row"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 5), (64, 8192)])
def test_near_pairs_are_all_pairs_whatever_is_compared_at_a_time(
    rows: int, columns: int, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "ROWS", rows)
    monkeypatch.setattr(near_duplicates, "COLUMNS", columns)
    words = np.random.default_rng(0).integers(0, 2**14, (2, 50), np.uint64)  # so short that many are near
    pairs = [(a, b) for a in range(50) for b in range(a + 1, 50)]
    differing = [[(int(hashes[a]) ^ int(hashes[b])).bit_count() for a, b in pairs] for hashes in words]
    expected = {
        pair for pair, p, d in zip(pairs, *differing, strict=True) if p <= MAX_PHASH_BITS and d <= MAX_DHASH_BITS
    }
    assert 100 < len(expected) < len(pairs)
    hashes = HashTable([f"{number:02}" for number in range(50)], *words)
    found = [pair for part in (range(20), range(20, 50)) for pair in near_pairs(hashes, part, pool)]
    assert sorted(found) == sorted((f"{a:02}", f"{b:02}") for a, b in expected)


def test_a_worker_with_an_index_does_its_own_parts_first() -> None:
    order = own_first(20, index=1, workers=3)
    assert {number % 3 for number in order[:7]} == {1}
    assert sorted(order) == sorted(own_first(20, None, 1)) == list(range(20))


def plans(pairs: list[DuplicatePair], **options: object) -> dict[str, str]:
    """Return key -> split of 3 classes x (20 train + 10 test) images with these duplicates."""
    keys = [
        f"{class_name}/{part}/{n}"
        for class_name in "abc"
        for part, count in (("train", 20), ("test", 10))
        for n in range(count)
    ]
    plan = plan_dataset(FileSource(dict.fromkeys(keys, b"")), DatasetConfig(**options)).with_duplicates(pairs)  # type: ignore[arg-type]
    return {image.source_id: split for split, images in plan.shards for image in images}


def test_train_duplicates_of_published_test_images_are_excluded_and_counted() -> None:
    pairs = [DuplicatePair("a/test/3", "a/train/5", "near"), DuplicatePair("a/train/5", "b/train/7", "near")]
    source = FileSource(dict.fromkeys(plans([]), b""))
    plan = plan_dataset(source, DatasetConfig()).with_duplicates(pairs)
    kept = {image.source_id for image in plan.images}
    assert {"a/train/5", "b/train/7"} == {image.source_id for image in source.images} - kept
    assert plan.empty_manifest.excluded == {"duplicates of test images": 2}
    assert plan.empty_manifest.duplicates == tuple(pairs)


def test_a_published_validation_part_is_kept_clean_too() -> None:
    files = {f"a/{part}/{n}": b"" for part in ("train", "validation", "test") for n in range(4)}
    pairs = [
        DuplicatePair("a/train/0", "a/validation/0", "near"),
        DuplicatePair("a/test/1", "a/train/1", "near"),
        DuplicatePair("a/train/1", "a/validation/1", "near"),
    ]
    plan = plan_dataset(FileSource(files), DatasetConfig()).with_duplicates(pairs)
    assert set(files) - {image.source_id for image in plan.images} == {"a/train/0", "a/train/1", "a/validation/1"}
    assert plan.empty_manifest.excluded == {"duplicates of test images": 2, "duplicates of validation images": 1}


def test_leaks_can_be_kept() -> None:
    splits = plans([DuplicatePair("a/test/3", "a/train/5", "near")], keep_duplicates=True)
    assert len(splits) == 90
    assert splits["a/test/3"] == "test"


@pytest.mark.parametrize("mode", ["official", "stratified"])
@pytest.mark.parametrize("seed", range(5))
def test_duplicates_come_into_the_same_carved_part(mode: str, seed: int) -> None:
    pairs = [
        DuplicatePair(f"{class_name}/train/{n}", f"{class_name}/train/{n + 1}", "near")
        for class_name in "abc"
        for n in range(0, 20, 2)
    ]
    pairs.append(DuplicatePair("a/train/1", "b/train/0", "pixels"))
    splits = plans(pairs, split=mode, seed=seed)
    assert len(splits) == 90
    for pair in pairs:
        assert splits[pair.source_id] == splits[pair.other]
    assert {"train", "validation", "test"} == set(splits.values())


def test_without_duplicates_the_splits_are_what_they_were() -> None:
    assert plans([]) == plans([DuplicatePair("a/test/0", "a/test/1", "near")])


def test_drawn_dogs_are_no_duplicates_of_one_another(
    source: StanfordDogs, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    assert duplicates_of(source, tmp_path, pool) == []
