"""A user's own tree of photos, and CIFAR's binary archives."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dogbreed.core.errors import CorruptData, DataError, NotFound
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data import images
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import Manifest
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import open_source
from dogbreed.data.raw.cifar import LAYOUTS
from tests.support.other_data import cifar_archive, colour, write_tree


def test_a_tree_of_breeds_has_photos_without_boxes_or_split(store: Store) -> None:
    write_tree(
        store, [f"{breed}/{n}.{suffix}" for breed in ("Pug", "Collie") for n in range(8) for suffix in ("jpg", "PNG")]
    )
    store.put("Pug/notes.txt", b"")
    store.put("stray.jpg", b"")
    source = open_source("image-folder", store)
    assert len(source.images) == 32
    assert {photo.class_name for photo in source.images} == {"Pug", "Collie"}
    assert all(photo.split is None and photo.boxes == () and photo.invalid_reason is None for photo in source.images)
    plan = plan_dataset(source, DatasetConfig(split="stratified"))
    assert {split for split, _ in plan.shards} == {"train", "validation", "test"}
    with pytest.raises(DataError, match="use --split stratified"):
        plan_dataset(source, DatasetConfig())


def test_the_splits_of_a_tree_are_kept(store: Store) -> None:
    counts = {"train": 6, "validation": 2, "test": 3}
    write_tree(
        store,
        [f"{part}/{breed}/deep/{n}.jpg" for part, count in counts.items() for breed in "ab" for n in range(count)],
    )
    plan = plan_dataset(open_source("image-folder", store), DatasetConfig())
    assert {split: len(photos) for split, photos in plan.shards} == {part: 2 * count for part, count in counts.items()}
    assert plan.classes == ("a", "b")


def test_breeds_named_like_a_split_are_breeds(store: Store) -> None:
    write_tree(store, ["test/1.jpg", "collie/1.jpg"])
    assert {photo.class_name for photo in open_source("image-folder", store).images} == {"test", "collie"}


def test_an_empty_tree_says_what_was_expected(store: Store) -> None:
    with pytest.raises(NotFound, match=r"check --raw"):
        open_source("image-folder", store)


def test_a_photo_that_changes_after_it_was_indexed_is_damage(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_tree(store, ["a/1.jpg"])
    source = open_source("image-folder", store)
    (tmp_path / "a/1.jpg").write_bytes(b"other")
    with pytest.raises(CorruptData, match="has changed"):
        source.read(source.images[0])


def test_the_digest_of_a_tree_is_that_of_its_files(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        store = LocalStore(tmp_path / name)
        write_tree(store, ["a/1.jpg", "b/2.jpg"])
        digests.append(open_source("image-folder", store).digest)
    (tmp_path / "two/b/2.jpg").rename(tmp_path / "two/b/3.jpg")
    assert digests[0] == digests[1] != open_source("image-folder", LocalStore(tmp_path / "two")).digest


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_binary_archive_gives_exact_pixels_labels_and_split(name: str, store: Store) -> None:
    store.put(LAYOUTS[name].archive, cifar_archive(name, per_class=2))
    source = open_source(name, store)
    tests = [photo for photo in source.images if photo.split == "test"]
    assert len(source.images) == 10 * 2 * (len(LAYOUTS[name].train) + 1)
    assert len(tests) == 20
    for photo in tests:
        pixels = np.asarray(images.decode(source.read(photo)))
        assert pixels.shape == (32, 32, 3)
        expected = colour(int(photo.class_name.removeprefix("class")))
        assert (pixels[16, 16] == expected).all(), photo


def repacked(data: bytes, change: str) -> bytes:
    """Return the archive with one file emptied, cut, mislabelled, left out or linked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=buffer, mode="w:gz") as new:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            content = stream.read()
            if member.name.endswith("test_batch.bin"):
                content = {"emptied": b"", "cut": content[:-1], "mislabelled": bytes([99]) + content[1:]}.get(
                    change, content
                )
                if change == "left out":
                    continue
                if change == "linked":
                    member.type, member.linkname, content = tarfile.SYMTYPE, "/etc/passwd", b""
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("change", ["emptied", "cut", "mislabelled", "left out", "linked"])
def test_a_wrong_binary_archive_is_damage(change: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(LAYOUTS["cifar10"].archive, repacked(cifar_archive("cifar10", 1), change))
    with pytest.raises(CorruptData, match="cifar-10-binary"):
        open_source("cifar10", store)


def edited(data: bytes, **files: bytes | None) -> bytes:
    """Return the archive with other contents of files (names without ending); with None the file is there twice."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=buffer, mode="w:gz") as new:
        for member in old:
            stem = Path(member.name).name.partition(".")[0]
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            for _ in range(2 if stem in files and files[stem] is None else 1):
                content = files.get(stem) or content
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


NAMES = "maple tree\r\nfähre\r\nclass2\r\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\nj k l\r\n\r\n  \r\n"


def test_class_names_of_several_words_windows_line_ends_and_empty_last_lines_are_read(tmp_path: Path) -> None:
    store, whole = LocalStore(tmp_path), cifar_archive("cifar10", 1)
    store.put(LAYOUTS["cifar10"].archive, edited(whole, batches=b"\xef\xbb\xbf" + NAMES.encode()))
    names = [photo.class_name for photo in open_source("cifar10", store).images[:10]]
    assert names == ["maple tree", "fähre", "class2", *"defghi", "j k l"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (b"a\n\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", "line 2 of batches.meta.txt .* is '', empty"),
        (b"a\nb\na \nc\nd\ne\nf\ng\nh\ni\n", "line 3 of .* is 'a', .*a second time"),
        (b"f\xe4hre\n" * 10, "is not UTF-8"),
        (b"a\nb\n", "has label 9, 2 classes are named"),
    ],
)
def test_class_names_that_would_move_labels_are_refused(names: bytes, message: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(LAYOUTS["cifar10"].archive, edited(cifar_archive("cifar10", 1), batches=names))
    with pytest.raises(CorruptData, match=message):
        open_source("cifar10", store)


def test_a_batch_that_is_there_twice_is_named(tmp_path: Path) -> None:
    whole = cifar_archive("cifar10", 1)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        batch = tar.extractfile("published-folder/data_batch_2.bin").read()  # type: ignore[union-attr]
    for change, message in (
        ({"data_batch_4": batch}, "data_batch_2.bin and data_batch_4.bin in .* are equal"),
        ({"test_batch": batch}, "data_batch_2.bin and test_batch.bin in .* are equal"),
        ({"data_batch_3": None}, "has two files data_batch_3.bin"),
    ):
        folder = LocalStore(tmp_path / next(iter(change)))
        folder.put(LAYOUTS["cifar10"].archive, edited(whole, **change))
        with pytest.raises(CorruptData, match=message):
            open_source("cifar10", folder)


@pytest.mark.parametrize("part", range(1, 20))
def test_a_truncated_binary_archive_is_damage(part: int, tmp_path: Path) -> None:
    whole = cifar_archive("cifar10", 1)
    store = LocalStore(tmp_path)
    store.put(LAYOUTS["cifar10"].archive, whole[: len(whole) * part // 20])
    with pytest.raises(CorruptData, match="truncated or damaged"):
        open_source("cifar10", store)


def test_no_archive_says_where_to_put_it(store: Store) -> None:
    with pytest.raises(NotFound, match=r"put the binary archive of cifar100 there"):
        open_source("cifar100", store)


def test_a_photo_without_boxes_is_used_whole(preprocess, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store = LocalStore(tmp_path / "raw")
    write_tree(store, [f"{breed}/{n}.jpg" for breed in "ab" for n in range(10)])
    made = preprocess(open_source("image-folder", store), LocalStore(tmp_path / "out"), split="stratified")
    assert isinstance(made, Manifest)
    assert made.summary()["written"] == 20
    assert Image.__version__ == made.versions["pillow"]
