"""The index of archives, and the names that sources give their images."""

import hashlib
from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data.raw.archive_index import ArchiveIndex, build_index
from dogbreed.data.raw.cifar import LAYOUTS, Cifar
from dogbreed.data.raw.download import write_index
from dogbreed.data.raw.image_folder import ImageFolder
from tests.support.golden.literals import assert_text, read_literal
from tests.support.other_data import cifar_archive


def test_index_of_the_archives(raw: LocalStore) -> None:
    assert_text("members.json", build_index(raw).to_json().decode())
    assert ArchiveIndex.from_json(read_literal("members.json")).to_json() == read_literal("members.json")
    assert write_index(raw, other_checksums=True) == {"raw": raw.uri, "images": 2, "published": False}
    assert raw.read("members.json") == read_literal("members.json")


def test_names_of_photos_in_folders(photos: LocalStore) -> None:
    assert [(photo.source_id, photo.class_name, photo.split) for photo in ImageFolder(photos).images] == [
        ("test/pug/2.png", "pug", "test"),
        ("train/pug/1.jpg", "pug", "train"),
    ]


def test_names_of_cifar_photos(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    packed = cifar_archive("cifar100", per_class=1)
    store.put(LAYOUTS["cifar100"].archive, packed)
    source = Cifar(store, "cifar100")
    assert source.digest == hashlib.sha256(packed).hexdigest()
    assert [(photo.source_id, photo.class_name, photo.split) for photo in source.images[9:11]] == [
        ("train.bin/00009", "class9", "train"),
        ("test.bin/00000", "class0", "test"),
    ]
