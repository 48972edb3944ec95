"""No key or name ever becomes a path outside its folder."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dogbreed.core.errors import AlreadyExists, DataError
from dogbreed.core.storage import LocalStore, escape_name, key_problem

PARTS = st.sampled_from(["..", ".", "", "/", "\\", "\0", "a", "x_y", "x/y", "%2F", "%", "~", "C:", "ä", " ", "\n"])
HOSTILE = st.one_of(st.lists(PARTS, max_size=6).map("/".join), st.lists(PARTS, max_size=6).map("".join), st.text())


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=HOSTILE)
def test_a_folder_writes_and_deletes_nothing_outside(tmp_path: Path, key: str) -> None:
    (tmp_path / "deep").mkdir(exist_ok=True)
    folder = LocalStore(tmp_path / "deep" / "prefix")
    for call in (lambda: folder.put(key, b"1"), lambda: folder.delete(key)):
        with suppress(AlreadyExists, OSError) if key_problem(key) is None else pytest.raises(DataError):
            call()  # OSError: a name of more than 255 bytes, or one that another key has as a folder
    assert {path.name for path in (*tmp_path.iterdir(), *(tmp_path / "deep").iterdir())} <= {"deep", "prefix"}


@settings(max_examples=200)
@given(HOSTILE, HOSTILE)
def test_any_text_is_one_file_name_of_its_own(text: str, other: str) -> None:
    assert "/" not in escape_name(text)
    assert not text or key_problem(escape_name(text)) is None
    assert (escape_name(text) == escape_name(other)) == (text == other)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("n02085620-Chihuahua", "x_y", "café noir (2).jpg", "a#b?c", "柴犬"):
        assert escape_name(name) == name
    assert escape_name("x/y") == "x%2Fy"


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../x", "a/./b", "a//b", "a/", "a\\b", "a\0b"])
def test_what_could_leave_a_folder_is_no_key(key: str) -> None:
    assert key_problem(key)


@pytest.mark.parametrize("key", ["a", "a/b", "..a", "a..b", ".hidden", "a b", "C:", "~"])
def test_odd_names_inside_a_folder_are_keys(key: str) -> None:
    assert key_problem(key) is None


def test_a_name_that_is_too_long_for_a_file_system_ends_with_a_hash() -> None:
    long = "柴" * 100
    one, two = escape_name(f"{long}1.jpg"), escape_name(f"{long}2.jpg")
    assert one != two
    for name in (one, two):
        assert len(name.encode()) <= 255
        assert name.startswith("柴")
        assert name.endswith(".jpg")
