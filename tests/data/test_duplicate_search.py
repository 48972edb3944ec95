"""The search for duplicates: groups are found whatever was done to a file, by any number of workers."""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from dogbreed.core.errors import ShutdownRequested
from dogbreed.core.storage import LocalStore
from dogbreed.data import duplicate_search
from dogbreed.data import plan as plans
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.duplicate_search import find_duplicates
from dogbreed.data.fingerprints import fingerprint
from dogbreed.data.near_duplicates import NEAR, HashTable, near_links
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.sharded_work import assign_shards
from tests.support.duplicates import FileSource, group

Links = list[tuple[str, str]]


def picture(seed: int, side: int = 240) -> Image.Image:
    """A smooth random picture, as photos are, and unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int = 90, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


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


def duplicates_of(source: FileSource | StanfordDogs, out: Path, pool: ThreadPoolExecutor) -> list[DuplicateGroup]:
    plan = plan_dataset(source, DatasetConfig(split="stratified"))
    return find_duplicates(plan, LocalStore(out), pool)


@pytest.mark.parametrize("change", CHANGED)
def test_a_duplicate_is_found_whatever_was_done_to_it(change: str, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    others = {f"b/train/{seed}": encoded(picture(seed)) for seed in range(1, 40)}
    source = FileSource({"a/train/0": encoded(ORIGINAL), "a/test/0": CHANGED[change], **others})
    kind = change if change in ("file", "pixels") else "near"
    assert duplicates_of(source, tmp_path, pool) == [group("a/test/0", ("a/train/0", kind))]


def test_images_that_cannot_be_decoded_are_duplicates_only_as_files(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    broken = encoded(ORIGINAL)[:300]
    source = FileSource({"a/train/0": broken, "a/train/1": broken, "a/train/2": broken[:200], "a/train/3": b""})
    assert duplicates_of(source, tmp_path, pool) == [group("a/train/0", ("a/train/1", "file"))]
    assert fingerprint(broken).phash is None


def test_workers_look_at_each_image_once_even_if_one_is_killed(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "IMAGES_PER_SHARD", 4)
    files = {f"a/train/{seed:02}": encoded(picture(seed)) for seed in range(20)}
    source = FileSource({**files, "a/train/19": encoded(picture(3))})
    plan, out, seen = plan_dataset(source, DatasetConfig(split="stratified")), LocalStore(tmp_path), list[str]()
    own = {image.source_id for number in assign_shards(plan, 1, 2) for image in plan.shards[number].images}

    def read(image: SourceImage) -> bytes:
        if len(seen) == len(own):
            raise ShutdownRequested
        seen.append(image.source_id)
        return source.files[image.source_id]

    monkeypatch.setattr(source, "read", read)
    with ThreadPoolExecutor(1) as one, pytest.raises(ShutdownRequested):
        find_duplicates(plan, out, one, index=1, workers=2)  # type: ignore[arg-type]
    assert set(seen) == own, "a worker begins with the images of its shards"
    monkeypatch.setattr(source, "read", lambda image: seen.append(image.source_id) or source.files[image.source_id])
    found = find_duplicates(plan, out, pool, index=0, workers=2)
    assert found == [group("a/train/03", ("a/train/19", "file"))]
    assert sorted(seen) == sorted([*files, "a/train/03"]), "one of each similar file is read once more"
    assert find_duplicates(plan, out, pool) == found
    assert len(seen) == len(files) + 1, "what was found once is read back"


def test_workers_compare_each_image_once_even_if_one_is_killed(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_search, "ROWS_PER_PART", 5)
    files = {f"a/train/{seed:02}": encoded(picture(seed)) for seed in range(18)}
    source = FileSource({**files, "a/train/18": b"no photo", "a/train/19": encoded(picture(3), quality=30)})
    plan, out, compared = plan_dataset(source, DatasetConfig(split="stratified")), LocalStore(tmp_path), list[range]()

    def compare(hashes: HashTable, rows: range, threads: ThreadPoolExecutor, limit: int = 2) -> Links:
        if hashes.max_bits == NEAR:
            return near_links(hashes, rows, threads)
        if len(compared) == limit:
            raise ShutdownRequested
        compared.append(rows)
        return near_links(hashes, rows, threads)

    monkeypatch.setattr(duplicate_search, "near_links", compare)
    with pytest.raises(ShutdownRequested):
        find_duplicates(plan, out, pool, index=1, workers=2)
    assert {rows.start for rows in compared} == {5, 15}, "every second part is the second worker's"
    monkeypatch.setattr(duplicate_search, "near_links", partial(compare, limit=5))
    assert find_duplicates(plan, out, pool, index=0, workers=2) == [group("a/train/03", ("a/train/19", "near"))]
    assert sorted(row for rows in compared for row in rows) == list(range(19)), "what cannot be decoded has no row"


def test_copies_and_frames_are_one_group_with_a_representative_and_the_kind_of_each_member(
    pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    files = {f"a/train/{n}": encoded(ORIGINAL) for n in range(3)}
    files |= {"b/train/3": CHANGED["pixels"], "b/train/4": CHANGED["worse"], "b/train/5": CHANGED["worse"]}
    files |= {f"b/train/{n}": encoded(picture(n)) for n in range(6, 9)}
    kinds = zip([f"a/train/{n}" for n in (1, 2)] + [f"b/train/{n}" for n in (3, 4, 5)],
                ("file", "file", "pixels", "near", "near"), strict=True)  # fmt: skip
    assert duplicates_of(FileSource(files), tmp_path, pool) == [group("a/train/0", *kinds)]


def test_each_different_file_is_read_once_more_however_many_copies_it_has(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"a/train/{n:02}": CHANGED["worse" if n % 2 else "file"] for n in range(20)}
    source, seen = FileSource(files), list[str]()
    monkeypatch.setattr(source, "read", lambda image: seen.append(image.source_id) or files[image.source_id])
    duplicates_of(source, tmp_path, pool)
    assert sorted(seen) == sorted([*files, "a/train/00", "a/train/01"])


def test_the_representative_is_a_test_image_if_the_group_has_one(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    files = {"a/train/0": encoded(ORIGINAL), "b/test/0": CHANGED["worse"], "b/validation/0": CHANGED["smaller"]}
    plan = plan_dataset(FileSource(files), DatasetConfig())
    (found,) = find_duplicates(plan, LocalStore(tmp_path), pool)
    assert found.source_ids == ["b/test/0", "b/validation/0", "a/train/0"]


def test_the_representative_is_not_damaged_if_another_image_is_whole(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    whole = encoded(ORIGINAL, quality=95)
    damaged = whole[: len(whole) * 99 // 100] + b"\xff\xd9"  # Pillow fills what is missing with gray
    (found,) = duplicates_of(FileSource({"a/train/0": damaged, "a/train/1": whole, "b/train/0": whole}), tmp_path, pool)
    assert fingerprint(damaged).phash is not None
    assert found.source_ids == ["a/train/1", "b/train/0", "a/train/0"]


def test_a_long_chain_of_frames_is_many_groups_of_one_chain(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    scene = picture(0, side=960)
    frames = [scene.crop((left, 0, left + 240, 180)) for left in range(0, 240, 2)]
    source = FileSource({f"a/train/{number:03}": encoded(frame) for number, frame in enumerate(frames)})
    found = duplicates_of(source, tmp_path, pool)
    assert max(len(part.source_ids) for part in found) < 40
    assert {part.chain for part in found} == {"a/train/000"}
    assert sorted(key for part in found for key in part.source_ids) == sorted(source.files)


def test_drawn_dogs_are_no_duplicates_of_one_another(
    source: StanfordDogs, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    assert duplicates_of(source, tmp_path, pool) == []
