"""members.json: what it holds, and damage that it shows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dogbreed.core.errors import CorruptData
from dogbreed.core.storage import LocalStore
from dogbreed.data.raw.archive import Archive
from dogbreed.data.raw.archive_index import ARCHIVES, MEMBERS, PUBLISHED, ArchiveIndex, build_index, load_index


def test_the_index_says_that_sketches_are_not_the_published_archives(sketches: Path) -> None:
    listing = build_index(LocalStore(sketches))
    assert not listing.published
    assert len(listing.archives["images.tar"].members) == 48
    assert ArchiveIndex.from_json(listing.to_json()).to_json() == listing.to_json()
    assert build_index(LocalStore(sketches)) == listing


def test_the_published_hashes_are_known_as_such() -> None:
    assert ArchiveIndex(PUBLISHED).published
    assert not ArchiveIndex({**PUBLISHED, "lists.tar": Archive(481_280, "0" * 64)}).published


def test_without_an_index_there_is_none(sketches: Path) -> None:
    assert load_index(LocalStore(sketches)) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"null",
        lambda data: b"[]",
        lambda data: b'"members"',
        lambda data: b"\xff" + data,
        lambda data: data.replace(b'"offset"', b'"place"', 1),
        lambda data: data.replace(b'"members"', b'"files"'),
        lambda data: data.replace(b'"bytes": ', b'"bytes": 1'),
    ],
    ids=["cut", "empty", "null", "list", "text", "no-utf8", "member", "no-members", "other-size"],
)
def test_a_damaged_index_is_damaged_data(sketches: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    raw = LocalStore(tmp_path)
    for name in ARCHIVES:
        raw.put_file(name, sketches / name)
    raw.put(MEMBERS, damage(build_index(raw).to_json()))
    with pytest.raises(CorruptData) as error:
        load_index(raw)
    assert error.value.exit_code == 65
