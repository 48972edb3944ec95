"""The published archives: every photo in its split, everything odd with its reason, nothing lost."""

import io
import json
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from dogbreed.core.errors import CorruptData, DataError, NotFound, UsageError
from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.core.storage.walk import NOT_A_FILE
from dogbreed.data import images
from dogbreed.data.boxes import Box
from dogbreed.data.raw import open_source
from dogbreed.data.raw.archive_index import ARCHIVES, MEMBERS, build_index
from dogbreed.data.raw.census import HIDDEN, NOT_AN_IMAGE, NOT_DECODED
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from tests.support.hostile.made import tar

REAL = Path(__file__).resolve().parents[4] / "shared/stanford-dogs-small"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
BREED = "n90000001-Long-eared_Sketchhound"
BOX = b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
PERSON = b"<object><name>person</name>" + BOX + b"<part><name>head</name>" + BOX + b"</part></object>"

Edit = Callable[[dict[str, bytes]], dict[str, bytes]]


def copy(sketches: Path, out: Store, edits: dict[str, Edit] | None = None) -> StanfordDogs:
    """Put the sketches' archives into `out`, each changed by its edit, and open them."""
    for path in sorted(sketches.iterdir()):
        edit = (edits or {}).get(path.name)
        out.put(path.name, repacked(path, edit) if edit else path.read_bytes())
    return StanfordDogs(out)


def repacked(path: Path, edit: Edit) -> bytes:
    return tar(edit(files_of(path)))


def files_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}  # type: ignore[union-attr]


def without(name: str) -> Edit:
    return lambda files: {key: content for key, content in files.items() if key != name}


def problems(source: StanfordDogs) -> dict[str, str]:
    return {image.source_id: image.invalid_reason for image in source.images if image.invalid_reason}


def test_every_image_has_its_class_split_and_boxes(source: StanfordDogs) -> None:
    assert len(source.images) == 48
    assert Counter(image.split for image in source.images) == {"train": 32, "test": 16}
    assert Counter(image.class_name for image in source.images).most_common()[0] == (BREED, 12)
    assert all(image.source_id.startswith(image.class_name + "/") and image.boxes for image in source.images)
    assert [image.source_id for image in source.images] == sorted(image.source_id for image in source.images)
    assert problems(source) == {}
    assert Counter(len(image.boxes) for image in source.images) == {1: 44, 2: 4}


def test_every_image_is_read_from_its_place_in_the_archive(source: StanfordDogs, sketches: Path) -> None:
    with tarfile.open(sketches / "images.tar") as tar:
        for image in source.images:
            file = tar.extractfile(f"Images/{image.source_id}.jpg")
            assert file is not None
            assert source.read(image) == file.read()


def test_the_png_named_jpg_is_read_as_an_image(source: StanfordDogs) -> None:
    data = [source.read(image) for image in source.images]
    kinds = Counter(Image.open(io.BytesIO(encoded)).format for encoded in data)
    assert kinds == {"JPEG": 47, "PNG": 1}
    assert {images.decode(encoded).shape[2] for encoded in data} == {3}


def test_a_bucket_gives_the_same_images_and_digest_as_a_folder(
    source: StanfordDogs, sketches: Path, bucket: str
) -> None:
    remote = copy(sketches, open_store(bucket))
    assert remote.digest == source.digest
    assert remote.images == source.images
    assert remote.read(remote.images[7]) == source.read(source.images[7])


def test_both_names_open_the_published_layout(source: StanfordDogs, sketches: Path) -> None:
    for name in ("stanford-dogs", "synthetic"):
        assert open_source(name, LocalStore(sketches)).digest == source.digest
    with pytest.raises(UsageError, match="unknown source 'cats'; known are stanford-dogs, synthetic"):
        open_source("cats", LocalStore(sketches))


@pytest.mark.parametrize("name", ["images.tar", "annotation.tar"])
def test_without_an_archive_the_job_that_brings_it_is_named(sketches: Path, tmp_path: Path, name: str) -> None:
    for path in sketches.iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(NotFound, match=f"{name} does not exist; run jobs.fetch"):
        StanfordDogs(LocalStore(tmp_path))


def test_without_lists_there_is_no_official_split(sketches: Path, tmp_path: Path, source: StanfordDogs) -> None:
    for name in ("images.tar", "annotation.tar"):
        (tmp_path / name).write_bytes((sketches / name).read_bytes())
    bare = StanfordDogs(LocalStore(tmp_path))
    assert {image.split for image in bare.images} == {None}
    assert problems(bare) == {}
    assert bare.digest != source.digest


def test_an_image_without_annotation_has_a_reason(sketches: Path, store: Store) -> None:
    changed = copy(sketches, store, {"annotation.tar": without(f"Annotation/{BREED}/n90000001_37")})
    assert problems(changed) == {f"{BREED}/n90000001_37": "no annotation"}
    assert len(changed.images) == 48


def test_an_annotation_without_image_has_a_reason(sketches: Path, store: Store) -> None:
    changed = copy(sketches, store, {"images.tar": without(f"Images/{BREED}/n90000001_37.jpg")})
    assert problems(changed) == {f"{BREED}/n90000001_37": "no image in images.tar"}


def test_an_image_that_no_list_names_has_a_reason(sketches: Path, tmp_path: Path) -> None:
    extra = f"{BREED}/n90000001_99999"

    def add(files: dict[str, bytes]) -> dict[str, bytes]:
        name, content = next(iter(files.items()))
        return {**files, name.split("/")[0] + f"/{extra}" + (".jpg" if name.endswith("jpg") else ""): content}

    changed = copy(sketches, LocalStore(tmp_path), {"images.tar": add, "annotation.tar": add})
    assert problems(changed) == {extra: "in neither train_list nor test_list"}


def test_a_bad_annotation_is_the_reason_of_its_image(sketches: Path, tmp_path: Path) -> None:
    key = f"{BREED}/n90000001_37"
    spoil: Edit = lambda files: {**files, f"Annotation/{key}": b"<annotation/>"}  # noqa: E731
    changed = copy(sketches, LocalStore(tmp_path), {"annotation.tar": spoil})
    assert problems(changed) == {key: "annotation without a box"}


def test_files_of_another_layout_are_ignored_with_a_reason(sketches: Path, tmp_path: Path) -> None:
    odd = [
        f"Images/{name}" for name in ("README.txt", "a/b/c.jpg", "../../etc/passwd.jpg", "n1-a/._x.jpg", "n1-a/x.heic")
    ]
    (tmp_path / "notes.txt").touch()
    changed = copy(sketches, LocalStore(tmp_path), {"images.tar": lambda files: {**files, **dict.fromkeys(odd, b"")}})
    assert len(changed.images) == 48
    reasons = {key: reason for reason, keys in changed.ignored.names.items() for key in keys}
    assert reasons.keys() == {*odd, "notes.txt"}
    assert reasons[odd[0]] == NOT_AN_IMAGE
    assert reasons[odd[1]].startswith("outside the published layout")
    assert reasons[odd[2]] == reasons[odd[3]] == HIDDEN
    assert reasons[odd[4]] == NOT_DECODED
    assert changed.ignored.images == 2


def with_link(files: dict[str, bytes], name: str) -> bytes:
    buffer = io.BytesIO(tar(files))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        archive.addfile(link)
    return buffer.getvalue()


@pytest.mark.parametrize("listed", [True, False])
def test_members_of_all_archives_are_counted_with_an_index_and_without(
    listed: bool, sketches: Path, tmp_path: Path
) -> None:
    raw, links = LocalStore(tmp_path), [f"link to {name}" for name in ARCHIVES]
    for name, link in zip(ARCHIVES, links, strict=True):
        raw.put(name, with_link({**files_of(sketches / name), "README.txt": b""}, link))
    if listed:
        raw.put(MEMBERS, build_index(raw).to_json())
    source = StanfordDogs(raw)
    assert len(source.images) == 48
    assert len(source.ignored) == 2 * len(ARCHIVES)
    assert sorted(source.ignored.names[NOT_A_FILE]) == sorted(links)


def test_images_without_a_suffix_are_found_by_their_content(sketches: Path, tmp_path: Path) -> None:
    strip: Edit = lambda files: {name.removesuffix(".jpg"): data for name, data in files.items()}  # noqa: E731
    changed = copy(sketches, LocalStore(tmp_path), {"images.tar": strip})
    assert changed.images == StanfordDogs(LocalStore(sketches)).images
    assert not changed.ignored


@pytest.mark.parametrize("root", ["./", "StanfordDogs/", "./data/"])
def test_archives_may_begin_with_a_folder(root: str, sketches: Path, tmp_path: Path) -> None:
    below: Edit = lambda files: {root + name: content for name, content in files.items()}  # noqa: E731
    source, changed = (
        StanfordDogs(LocalStore(sketches)),
        copy(sketches, LocalStore(tmp_path), {"images.tar": below, "annotation.tar": below}),
    )
    assert changed.images == source.images
    assert changed.read(changed.images[0]) == source.read(source.images[0])
    assert not changed.ignored


@pytest.mark.parametrize("name", ["Japanese spaniel", "Épagneul", "柴犬", "chien d'eau (Barbet)"])
def test_a_folder_may_have_any_name(name: str, sketches: Path, tmp_path: Path) -> None:
    def rename(files: dict[str, bytes]) -> dict[str, bytes]:
        return {key.replace(BREED, f"n90000001-{name}"): data.replace(BREED[10:].encode(), name.encode())
                for key, data in files.items()}  # fmt: skip

    edits: dict[str, Edit] = {"images.tar": rename, "annotation.tar": rename, "lists.tar": lambda files: {}}
    changed = copy(sketches, LocalStore(tmp_path), edits)
    assert problems(changed) == {}
    assert Counter(image.class_name for image in changed.images)[f"n90000001-{name}"] == 12


def test_the_boxes_are_those_of_the_class_and_not_of_other_objects_or_parts(sketches: Path, tmp_path: Path) -> None:
    def add_person(files: dict[str, bytes]) -> dict[str, bytes]:
        return {key: data.replace(b"<object>", PERSON + b"<object>", 1) for key, data in files.items()}

    plain = copy(sketches, LocalStore(tmp_path / "plain"))
    changed = copy(sketches, LocalStore(tmp_path / "changed"), {"annotation.tar": add_person})
    assert [image.boxes for image in changed.images] == [image.boxes for image in plain.images]


def test_an_image_that_occurs_twice_is_refused(sketches: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    for file in sketches.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with tarfile.open(path, "a") as tar:
        member = next(member for member in tar.getmembers() if member.isreg())
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(DataError, match="two images of one name"):
        StanfordDogs(LocalStore(tmp_path))


def test_an_image_in_both_lists_is_refused(sketches: Path, tmp_path: Path) -> None:
    both: Edit = lambda files: {**files, "test_list.mat": files["file_list.mat"]}  # noqa: E731
    with pytest.raises(DataError, match="train list"):
        copy(sketches, LocalStore(tmp_path), {"lists.tar": both})


def test_a_damaged_list_is_damaged_data(sketches: Path, tmp_path: Path) -> None:
    spoil: Edit = lambda files: {**files, "train_list.mat": files["train_list.mat"][:300]}  # noqa: E731
    with pytest.raises(CorruptData):
        copy(sketches, LocalStore(tmp_path), {"lists.tar": spoil})


def test_with_the_index_the_source_is_the_same(sketches: Path, source: StanfordDogs, store: Store) -> None:
    copy(sketches, store)
    store.put(MEMBERS, build_index(store).to_json())
    indexed = StanfordDogs(store)
    assert indexed.digest == source.digest
    assert indexed.images == source.images
    assert indexed.read(indexed.images[11]) == source.read(source.images[11])


def test_an_archive_that_the_index_does_not_describe_is_damaged_data(sketches: Path, tmp_path: Path) -> None:
    raw = LocalStore(tmp_path)
    copy(sketches, raw)
    raw.put(MEMBERS, build_index(raw).to_json())
    other = raw.read("annotation.tar").replace(b"Unspecified", b"unspecified", 1)
    (tmp_path / "annotation.tar").write_bytes(other)
    with pytest.raises(CorruptData, match=r"annotation\.tar is not the archive that members\.json describes"):
        StanfordDogs(raw)


def test_an_image_that_differs_from_its_index_is_damaged_data(sketches: Path, tmp_path: Path) -> None:
    raw = LocalStore(tmp_path)
    copy(sketches, raw)
    raw.put(MEMBERS, build_index(raw).to_json())
    archive = bytearray(raw.read("images.tar"))
    member = json.loads(raw.read(MEMBERS))["members"][0]
    archive[member["offset"] + 100] ^= 1
    (tmp_path / "images.tar").write_bytes(archive)
    source = StanfordDogs(raw)
    image = next(p for p in source.images if p.source_id in member["name"])
    with pytest.raises(CorruptData, match="differs from its index"):
        source.read(image)


@pytest.fixture(scope="module")
def real() -> StanfordDogs:
    return StanfordDogs(LocalStore(REAL))


@needs_real
def test_the_real_archive_has_all_of_its_images_in_their_official_split(real: StanfordDogs) -> None:
    assert len(real.images) == 20_164
    assert Counter(image.split for image in real.images) == {"train": 11_754, "test": 8_410}
    assert len({image.class_name for image in real.images}) == 120
    assert problems(real) == {}


@needs_real
def test_a_sample_of_the_real_images_is_usable(real: StanfordDogs) -> None:
    for image in real.images[::400]:
        pixels = images.decode(real.read(image))
        assert max(pixels.shape) <= 208
        for box in image.boxes:
            assert images.clip_to_image(box, pixels).area > 0


@needs_real
def test_the_real_png_named_jpg_is_there(real: StanfordDogs) -> None:
    image = next(p for p in real.images if p.source_id.endswith("/n02105855_2933"))
    assert Image.open(io.BytesIO(real.read(image))).format == "PNG"
    assert image.boxes[0] == Box(0, 1, 197, 172)


def test_archives_may_compose_letters_differently(sketches: Path, tmp_path: Path) -> None:
    def rename(form: Literal["NFC", "NFD"]) -> Edit:
        name = unicodedata.normalize(form, "Épagneul")
        return lambda files: {key.replace(BREED, f"n90000001-{name}"): data.replace(BREED[10:].encode(), name.encode())
                              for key, data in files.items()}  # fmt: skip

    edits: dict[str, Edit] = {"images.tar": rename("NFD"), "annotation.tar": rename("NFC"), "lists.tar": lambda _: {}}
    changed = copy(sketches, LocalStore(tmp_path), edits)
    assert problems(changed) == {}
    assert len(changed.images) == 48
