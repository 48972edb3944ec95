"""What a URI names: plain names mean themselves, file:// is decoded, everything else is refused with a spelling."""

import os
from pathlib import Path

import pytest

from dogbreed.core.errors import NotFound, UsageError
from dogbreed.core.storage import LocalStore, open_store, read_uri, to_path


@pytest.mark.parametrize(
    "name",
    ["photos#1", "photos?v=2", "100%", "a%20b", "a b", "ä;&=", "a:b", "a\\b", "2024-01-01T10:/x", "./~x", "./s3:/x"],
)
def test_all_characters_of_a_plain_name_mean_themselves(name: str) -> None:
    assert to_path(name) == Path(name)
    assert to_path(f"/data/{name}") == Path(f"/data/{name}")
    assert to_path(open_store(name).uri) == Path(name), "the store's own URI names the same folder"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///a%20b%2520%23%3F", "/a b%20#?"),
        ("file://localhost/a", "/a"),
        ("file:/a", "/a"),
        ("file:////a/", "/a"),
        ("file:///%E4", os.fsdecode(b"/\xe4")),  # bytes that are no UTF-8
        ("file:///ä b", "/ä b"),
    ],
)
def test_a_file_uri_is_percent_decoded(uri: str, name: str) -> None:
    assert to_path(uri) == Path(name)


@pytest.mark.parametrize(
    ("uri", "spelling"),
    [
        ("file:///data/photos#1", "file:///data/photos%231"),
        ("file:///data/photos?v=2", "file:///data/photos%3Fv=2"),
        ("file:///100%/%zz%20", "file:///100%25/%25zz%20"),
        ("file://data/raw", "file:///data/raw"),
        ("file://host/raw", "names the host 'host'"),
        ("file:data", "file:///data"),
        ("file:///a%00b", "no folder has %00"),
        ("FILE:///data", "file:///data"),
        ("S3://bucket/x", "s3://bucket/x"),
        ("s3:/bucket/x", "s3://bucket/x"),
        ("s3:bucket", "s3://bucket"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:///x", "s3://bucket/prefix"),
        ('"s3://bucket/x"', "s3://bucket/x;"),
        ("gs://bucket/x", "'./gs://bucket/x'"),
        ("hdfs:/x", "'./hdfs:/x'"),
        ("~no-such-user/x", "'./~no-such-user/x'"),
    ],
)
def test_anything_else_is_refused_with_the_spelling_that_works(uri: str, spelling: str) -> None:
    with pytest.raises(UsageError) as error:
        open_store(uri)
    assert uri in str(error.value)
    assert spelling in str(error.value)


def test_a_tilde_is_the_home_folder_and_refused_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert to_path("~/out") == tmp_path / "out"
    assert to_path("~root/x") == Path("~root/x").expanduser()
    assert to_path("a/~") == Path("a/~")
    monkeypatch.setenv("HOME", str(tmp_path / "nonexistent"))
    with pytest.raises(UsageError, match="~ has no home folder"):
        to_path("~/out")


def test_a_file_with_odd_characters_is_read_by_both_kinds_of_uri(tmp_path: Path) -> None:
    (tmp_path / "list#1?%41.txt").write_bytes(b"1")
    assert read_uri(str(tmp_path / "list#1?%41.txt")) == read_uri((tmp_path / "list#1?%41.txt").as_uri()) == b"1"
    with pytest.raises(NotFound):
        read_uri(str(tmp_path / "list"))
    with pytest.raises(UsageError, match="s3://key is a bucket"):
        read_uri("s3://key")


def test_a_prefix_that_cannot_hold_anything_says_why(tmp_path: Path) -> None:
    (tmp_path / "images.tar").touch()
    assert LocalStore(tmp_path).prefix_problem() is None
    assert str(LocalStore(tmp_path / "images.tar").prefix_problem()).endswith("images.tar is a file, not a folder")
    assert str(LocalStore(tmp_path / "nowhere").prefix_problem()).endswith("nowhere does not exist")


def test_an_object_is_no_prefix(bucket: str) -> None:
    open_store(bucket).put("raw/images.tar", b"")
    assert open_store(f"{bucket}/raw").prefix_problem() is None
    assert open_store(bucket).prefix_problem() is None
    assert (
        open_store(f"{bucket}/raw/images.tar").prefix_problem() == f"{bucket}/raw/images.tar is an object, not a prefix"
    )
