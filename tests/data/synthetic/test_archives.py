"""The drawn archives: the published layout, its oddities, boxes that fit, the same bytes every time."""

import io
import random
import re
import tarfile
from collections import Counter
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import numpy as np
import pytest
from PIL import Image, ImageChops
from scipy.io import loadmat

from dogbreed.core.errors import UsageError
from dogbreed.data.synthetic import compose
from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives
from dogbreed.data.synthetic.breeds import BREEDS, Breed

BREED_COUNT, PER_BREED = 5, 20
ARCHIVES = ["images.tar", "annotation.tar", "lists.tar"]


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    return draw_archives(SyntheticConfig(classes=BREED_COUNT, per_class=PER_BREED, seed=3))


@pytest.fixture(scope="module")
def photos(archives: dict[str, bytes]) -> dict[str, bytes]:
    files = contents(archives["images.tar"])
    return {name.removeprefix("Images/").removesuffix(".jpg"): data for name, data in files.items()}


@pytest.fixture(scope="module")
def annotations(archives: dict[str, bytes]) -> dict[str, Element]:
    files = contents(archives["annotation.tar"])
    return {name.removeprefix("Annotation/"): fromstring(xml) for name, xml in files.items()}


@pytest.fixture(scope="module")
def lists(archives: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    return {name: loadmat(io.BytesIO(mat)) for name, mat in contents(archives["lists.tar"]).items()}


def contents(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        return {member.name: read(tar, member) for member in tar if member.isfile()}


def read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read()


def members(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        return tar.getmembers()


def boxes_of(root: Element) -> list[tuple[int, ...]]:
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [tuple(int(box.findtext(side, "")) for side in sides) for box in root.iter("bndbox")]


def size_of(root: Element) -> tuple[int, int]:
    return int(root.findtext("size/width", "")), int(root.findtext("size/height", ""))


def cells(column: Any) -> list[str]:
    return [str(cell.item()) for cell in column[:, 0]]


def key_of(breed: int, index: int) -> str:
    synset, name = BREEDS[breed].synset, BREEDS[breed].name
    return f"{synset}-{name}/{synset}_{37 * (index + 1)}"


def test_the_same_config_gives_the_same_bytes() -> None:
    config = SyntheticConfig(classes=2, per_class=5)
    assert draw_archives(config) == draw_archives(config)


def test_another_seed_draws_other_photos_under_the_same_names() -> None:
    one, other = (draw_archives(SyntheticConfig(classes=1, per_class=5, seed=seed)) for seed in (0, 1))
    assert one["lists.tar"] == other["lists.tar"]
    images, others = contents(one["images.tar"]), contents(other["images.tar"])
    assert list(images) == list(others)
    assert not set(images.values()) & set(others.values())


def test_a_smaller_archive_holds_a_part_of_the_larger_one(
    archives: dict[str, bytes], lists: dict[str, dict[str, Any]]
) -> None:
    smaller = draw_archives(SyntheticConfig(classes=2, per_class=7, seed=3))
    for name in ("images.tar", "annotation.tar"):
        assert contents(smaller[name]).items() < contents(archives[name]).items()
    for name, count in (("train_list.mat", 10), ("test_list.mat", 4)):
        part = cells(loadmat(io.BytesIO(contents(smaller["lists.tar"])[name]))["file_list"])
        assert len(part) == count
        assert set(part) < set(cells(lists[name]["file_list"]))


def test_the_layout_is_the_published_one(archives: dict[str, bytes], photos: dict[str, bytes]) -> None:
    assert list(archives) == ARCHIVES
    keys = {key_of(breed, index) for breed in range(BREED_COUNT) for index in range(PER_BREED)}
    assert photos.keys() == keys
    assert {name.removeprefix("Annotation/") for name in contents(archives["annotation.tar"])} == keys
    assert list(contents(archives["lists.tar"])) == ["file_list.mat", "train_list.mat", "test_list.mat"]


def test_each_folder_stands_before_its_files(archives: dict[str, bytes]) -> None:
    for archive, root in (("images.tar", "Images"), ("annotation.tar", "Annotation")):
        names = [member.name for member in members(archives[archive])]
        folders = [member.name for member in members(archives[archive]) if member.isdir()]
        assert folders == [root, *(f"{root}/{breed.synset}-{breed.name}" for breed in BREEDS[:BREED_COUNT])]
        assert all(names.index(str(PurePosixPath(name).parent)) < names.index(name) for name in names[1:])


def test_members_have_no_time_and_no_owner(archives: dict[str, bytes]) -> None:
    everything = [member for archive in archives.values() for member in members(archive)]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in everything} == {(0, 0, 0, "", "")}


def test_breeds_have_invented_synsets_and_differing_names() -> None:
    assert [breed.synset for breed in BREEDS] == [f"n9{number:07}" for number in range(1, len(BREEDS) + 1)]
    assert len({breed.name for breed in BREEDS}) == len(BREEDS) == 12
    assert all(re.fullmatch(r"[A-Za-z]+([_-][A-Za-z]+)+", breed.name) for breed in BREEDS)
    assert sum("-" in breed.name for breed in BREEDS) == 6


def test_every_photo_decodes_and_has_the_size_that_its_annotation_declares(
    photos: dict[str, bytes], annotations: dict[str, Element]
) -> None:
    shapes = set()
    for key, data in photos.items():
        image = Image.open(io.BytesIO(data))
        image.load()
        assert image.mode == "RGB"
        assert image.size == size_of(annotations[key])
        assert 160 <= min(image.size) <= max(image.size) <= 320
        shapes.add(image.width > image.height)
    assert shapes == {True, False}


def test_annotations_have_the_published_elements(annotations: dict[str, Element]) -> None:
    for key, root in annotations.items():
        objects = [child for child in root if child.tag == "object"]
        assert [child.tag for child in root if child.tag != "object"] == [
            "folder", "filename", "source", "size", "segment",
        ]  # fmt: skip
        for item in objects:
            assert [child.tag for child in item] == ["name", "pose", "truncated", "difficult", "bndbox"]
            assert item.findtext("name") == key.split("/")[0].split("-", 1)[1]


def test_boxes_lie_in_the_photo_but_for_the_two_odd_ones(annotations: dict[str, Element]) -> None:
    outside = {}
    for key, root in annotations.items():
        width, height = size_of(root)
        for xmin, ymin, xmax, ymax in boxes_of(root):
            assert 0 <= xmin < xmax
            assert 0 <= ymin < ymax
            beyond = (max(0, xmax - width + 1), max(0, ymax - height + 1))
            if beyond != (0, 0):
                outside[key] = beyond
    assert outside == {key_of(0, 4): (5, 0), key_of(0, 0): (0, 7)}


def test_a_lone_dog_fills_at_least_a_fifth_of_its_photo(annotations: dict[str, Element]) -> None:
    areas = []
    for root in annotations.values():
        boxes, (width, height) = boxes_of(root), size_of(root)
        if len(boxes) == 1:
            xmin, ymin, xmax, ymax = boxes[0]
            areas.append((xmax - xmin) * (ymax - ymin) / (width * height))
    assert 0.2 < min(areas) < max(areas) < 0.95
    assert 0.3 < np.median(areas) < 0.6


@pytest.mark.parametrize("breed", BREEDS, ids=lambda breed: breed.synset)
def test_a_box_is_tight_around_what_is_seen_of_the_dog(breed: Breed, monkeypatch: pytest.MonkeyPatch) -> None:
    backdrop = (255, 0, 255)
    monkeypatch.setattr(compose, "draw_scene", lambda rng, size: (Image.new("RGB", size, backdrop), 100.0))
    monkeypatch.setattr(compose, "_draw_shadow", lambda image, bounds: None)
    monkeypatch.setattr(compose, "draw_foreground", lambda rng, image: None)
    monkeypatch.setattr(compose, "_add_camera_noise", lambda rng, image: image)
    for seed in range(6):
        image, [box] = compose.compose_image(breed, random.Random(seed), dogs=1)
        seen = ImageChops.difference(image, Image.new("RGB", image.size, backdrop)).getbbox()
        assert seen is not None
        left, top, right, bottom = seen
        assert np.abs(np.subtract(box, (left, top, right - 1, bottom - 1))).max() <= 1


def test_some_photos_show_two_or_three_dogs_of_one_breed(annotations: dict[str, Element]) -> None:
    counts = Counter(len(boxes_of(root)) for root in annotations.values())
    assert counts == {1: 18 * BREED_COUNT, 2: BREED_COUNT, 3: BREED_COUNT}


def test_some_annotations_carry_a_literal_percent_s(annotations: dict[str, Element]) -> None:
    nameless = {key for key, root in annotations.items() if root.findtext("filename") == "%s"}
    assert nameless == {key for key, root in annotations.items() if root.findtext("folder") == "%s"}
    assert nameless == {key_of(breed, index) for breed in (0, 4) for index in range(1, PER_BREED, 3)}
    named = annotations[key_of(1, 0)]
    assert (named.findtext("folder"), named.findtext("filename")) == ("90000002", "n90000002_37")


def test_one_png_is_named_jpg(photos: dict[str, bytes]) -> None:
    formats = {key: Image.open(io.BytesIO(data)).format for key, data in photos.items()}
    assert [key for key, kind in formats.items() if kind == "PNG"] == [key_of(0, 3)]
    assert Counter(formats.values()) == {"JPEG": BREED_COUNT * PER_BREED - 1, "PNG": 1}


def test_the_official_split_is_disjoint_and_covers_the_file_list(lists: dict[str, dict[str, Any]]) -> None:
    everything, train, test = (cells(lists[f"{name}_list.mat"]["file_list"]) for name in ("file", "train", "test"))
    assert sorted(train + test) == everything
    assert len(set(everything)) == len(everything) == BREED_COUNT * PER_BREED
    assert Counter(name.split("/")[0] for name in train) == {
        f"{breed.synset}-{breed.name}": 12 for breed in BREEDS[:BREED_COUNT]
    }


def test_lists_have_the_published_columns(lists: dict[str, dict[str, Any]]) -> None:
    for mat in lists.values():
        files, labels = cells(mat["file_list"]), mat["labels"]
        assert [f"{name}.jpg" for name in cells(mat["annotation_list"])] == files
        assert mat["file_list"].dtype == object
        assert (labels.dtype, labels.shape) == (np.float64, (len(files), 1))
        assert [int(name[1:9]) - 90_000_000 for name in files] == labels[:, 0].tolist()


@pytest.mark.parametrize(
    ("number", "found"),
    [
        ({"classes": 13}, "classes is 13"),
        ({"classes": 0}, "classes is 0"),
        ({"per_class": 4}, "per_class is 4"),
    ],
)
def test_a_config_out_of_range_says_what_is_allowed(number: dict[str, int], found: str) -> None:
    with pytest.raises(UsageError, match=f"^{found};"):
        SyntheticConfig(**number)
