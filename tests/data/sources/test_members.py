"""members.json: what it holds, and damage that it shows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dogbreed.data.sources.archive import Archive
from dogbreed.data.sources.members import ARCHIVES, MEMBERS, PUBLISHED, Listing, load_listing, make_listing
from dogbreed.platform.errors import DamagedData
from dogbreed.platform.storage import FolderStore


def test_the_index_says_that_sketches_are_not_the_published_archives(sketches: Path) -> None:
    listing = make_listing(FolderStore(sketches))
    assert not listing.published
    assert len(listing.archives["images.tar"].members) == 48
    assert Listing.from_json(listing.to_json()).to_json() == listing.to_json()
    assert make_listing(FolderStore(sketches)) == listing


def test_the_published_hashes_are_known_as_such() -> None:
    assert Listing(PUBLISHED).published
    assert not Listing({**PUBLISHED, "lists.tar": Archive(481_280, "0" * 64)}).published


def test_without_an_index_there_is_none(sketches: Path) -> None:
    assert load_listing(FolderStore(sketches)) is None


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
    raw = FolderStore(tmp_path)
    for name in ARCHIVES:
        raw.put_file(name, sketches / name)
    raw.put(MEMBERS, damage(make_listing(raw).to_json()))
    with pytest.raises(DamagedData) as error:
        load_listing(raw)
    assert error.value.exit_code == 65
