"""The census: every file below a prefix is used or ignored with a reason, and the counts add up."""

import io
import logging
from pathlib import Path

import pytest
from PIL import Image

from dogbreed.core.errors import DataError
from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.data.image_formats import LFS_POINTER, LFS_SIGNATURE
from dogbreed.data.raw.census import (
    HIDDEN,
    NOT_AN_IMAGE,
    NOT_DECODED,
    NOT_DOWNLOADED,
    Ignored,
    check_ignored,
    find_images,
    is_hidden,
)
from dogbreed.data.raw.image_folder import ImageFolder
from tests.support.other_data import write_tree

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = jpeg()


def test_each_file_has_its_reason(store: Store) -> None:
    write_tree(store, ["a/1.jpg", "b/2.png"])
    odd = {
        "a/.DS_Store": HIDDEN, "a/._1.jpg": HIDDEN, "__MACOSX/a/1.jpg": HIDDEN, ".ipynb_checkpoints/1.jpg": HIDDEN,
        "a/@eaDir/1.jpg": HIDDEN, "@Recycle/a/1.jpg": HIDDEN, "#snapshot/2024/a/1.jpg": HIDDEN, "a/Thumbs.db": HIDDEN,
        "a/notes.txt": NOT_AN_IMAGE, "a/plain": NOT_AN_IMAGE,
        "a/3.heic": NOT_DECODED, "a/4": NOT_DECODED, "a/6": LFS_POINTER,
    }  # fmt: skip
    for key in odd:
        store.put(key, {"a/4": HEIC, "a/6": LFS_SIGNATURE}.get(key, b"content"))
    store.put("a/5", JPEG)
    ignored = Ignored()
    assert [info.key for info in find_images(store, ignored)] == ["a/1.jpg", "a/5", "b/2.png"]
    assert {key: reason for reason, keys in ignored.names.items() for key in keys} == odd
    assert ignored.images == 2


def test_an_image_that_a_cloud_drive_has_not_downloaded_counts_as_an_image(store: Store) -> None:
    placeholders = ["a/.1.jpg.icloud", "a/.2.HEIC.icloud", "a/3.png.owncloud", "b/4.jpg.nextcloud", "b/5.JPG.cloud"]
    others = {"a/.notes.txt.icloud": HIDDEN, "a/.._1.jpg.icloud": HIDDEN, ".trash/.1.jpg.icloud": HIDDEN,
              "a/1.cloud": NOT_AN_IMAGE, "a/.icloud": HIDDEN}  # fmt: skip
    for key in (*placeholders, *others):
        store.put(key, b"bplist00")
    ignored = Ignored()
    assert find_images(store, ignored) == []
    expected = {**dict.fromkeys(placeholders, NOT_DOWNLOADED), **others}
    assert {key: reason for reason, keys in ignored.names.items() for key in keys} == expected
    assert ignored.images == 5


def test_a_bucket_is_asked_only_for_the_beginning_of_files_with_an_unknown_suffix(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(bucket)
    for key in ("a/1.jpg", "a/2.txt", "a/3", "a/.hidden", "a/4.bin2"):
        store.put(key, JPEG)
    ranges: list[tuple[str, int, int]] = []
    read_range = store.read_range
    monkeypatch.setattr(store, "read_range", lambda *asked: ranges.append(asked) or read_range(*asked))
    monkeypatch.setattr(store, "read", lambda key: pytest.fail(f"{key} is read"))
    find_images(store, Ignored())
    assert sorted(ranges) == [("a/3", 0, 64), ("a/4.bin2", 0, 64)]


def test_names_that_are_not_utf8_are_named_in_one_line(tmp_path: Path) -> None:
    write_tree(LocalStore(tmp_path), ["a/1.jpg", "b/2.jpg"])
    (tmp_path / "a/chien_\udce9.jpg").write_bytes(JPEG)
    with pytest.raises(DataError, match=r"not UTF-8: a/chien_\\udce9\.jpg; rename"):
        ImageFolder(LocalStore(tmp_path))


def test_there_is_one_warning_for_each_reason_with_a_count_and_five_names(caplog: pytest.LogCaptureFixture) -> None:
    ignored = Ignored()
    for n in range(7):
        ignored.add(f"{n}.txt", NOT_AN_IMAGE)
    ignored.add(".x", HIDDEN)
    with caplog.at_level(logging.WARNING):
        ignored.log("raw")
    assert [record.getMessage() for record in caplog.records] == [
        "ignored in raw: not an image: 7 (0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ...)",
        "ignored in raw: hidden or system file: 1 (.x)",
    ]
    assert ignored.summary()[NOT_AN_IMAGE] == {"files": 7, "examples": [f"{n}.txt" for n in range(5)]}


@pytest.mark.parametrize(("images", "used", "limit", "refused"), [
    (10, 5, 0.01, False), (11, 1000, 0.01, True), (11, 1100, 0.01, False), (500, 500, 0.5, False), (11, 0, 1, False),
])  # fmt: skip
def test_more_than_ten_ignored_images_and_more_than_the_limit_are_refused(
    images: int, used: int, limit: float, refused: bool
) -> None:
    ignored = Ignored()
    for n in range(images):
        ignored.add(f"{n}.heic", NOT_DECODED, is_image=True)
    for n in range(5000):
        ignored.add(f"._{n}.jpg", HIDDEN)
    if refused:
        with pytest.raises(DataError, match="--max-ignored"):
            check_ignored(ignored, used, limit, "raw")
    else:
        check_ignored(ignored, used, limit, "raw")


def test_a_folder_marker_of_a_bucket_is_no_image() -> None:
    assert is_hidden("akita/")
    assert not is_hidden("akita/1.jpg")
