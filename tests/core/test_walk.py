"""Listing a folder with links: each real folder once, everything else named, nothing unreadable passed over."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dogbreed.core.errors import PermissionDenied
from dogbreed.core.storage import LocalStore
from dogbreed.core.storage.walk import BROKEN_LINK, LINK_LOOP, NOT_A_FILE, NOT_READ, READ_ALREADY

NOBODY = 65534


def is_hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))


def write(root: Path, *keys: str) -> None:
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_text(key)


def listed(root: Path) -> tuple[list[str], dict[str, str]]:
    skipped: dict[str, str] = {}
    return [info.key for info in LocalStore(root).list_inputs(skipped, is_hidden)], skipped


def test_links_to_folders_outside_are_followed_once(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(raw, "akita/1.jpg")
    write(tmp_path / "elsewhere", "collie/1.jpg", "collie/deep/2.jpg")
    (raw / "collie").symlink_to("../elsewhere/collie")
    (raw / "second").symlink_to("../elsewhere/collie")
    (raw / "zebra").symlink_to("../elsewhere/collie/deep")
    assert listed(raw) == (
        ["akita/1.jpg", "collie/1.jpg", "collie/deep/2.jpg"],
        {"second": READ_ALREADY, "zebra": READ_ALREADY},
    )


def test_a_folder_inside_keeps_its_name_whatever_links_to_it(tmp_path: Path) -> None:
    write(tmp_path, "zebra/1.jpg", "akita/2.jpg")
    (tmp_path / "a").symlink_to("zebra")
    (tmp_path / "akita/same.jpg").symlink_to("2.jpg")
    assert listed(tmp_path) == (["akita/2.jpg", "akita/same.jpg", "zebra/1.jpg"], {"a": READ_ALREADY})


def test_loops_broken_links_and_pipes_are_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(raw, "akita/1.jpg")
    (raw / "akita/up").symlink_to("..")
    (raw / "akita/self").symlink_to("self")
    (raw / "akita/above").symlink_to(tmp_path)
    (raw / "akita/gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(raw / "pipe")
    keys, skipped = listed(raw)
    assert keys == ["akita/1.jpg"]
    assert skipped == {"akita/up": LINK_LOOP, "akita/above": LINK_LOOP, "akita/self": BROKEN_LINK,
                       "akita/gone.jpg": BROKEN_LINK, "pipe": NOT_A_FILE}  # fmt: skip


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path / "nothing") == ([], {})


@contextmanager
def another_user(folder: Path) -> Iterator[None]:
    """Be a user whom permissions concern, while below `folder`."""
    if os.geteuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents):
        if parent.stat().st_mode & 0o055 != 0o055:
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "akita/1.jpg", "closed/2.jpg")
    store = LocalStore(tmp_path)
    (tmp_path / "akita/1.jpg").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        with another_user(tmp_path):
            with pytest.raises(PermissionDenied, match="closed cannot be read"):
                store.list_inputs({}, is_hidden)
            with pytest.raises(PermissionDenied, match=r"akita/1\.jpg cannot be read"):
                store.read("akita/1.jpg")
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_a_folder_behind_two_links_is_read_once_whichever_comes_first(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(tmp_path / "elsewhere", "a/b/1.jpg")
    raw.mkdir()
    (raw / "k1").symlink_to("../elsewhere/a/b")
    (raw / "k2").symlink_to("../elsewhere/a")
    assert listed(raw) == (["k1/1.jpg"], {"k2/b": READ_ALREADY})


def test_hidden_folders_may_be_unreadable_and_hidden_links_are_not_followed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(raw, "akita/1.jpg", ".trash/2.jpg")
    write(tmp_path / "elsewhere", "3.jpg")
    (raw / ".cache").symlink_to("../elsewhere")
    (raw / ".trash").chmod(0)
    try:
        with another_user(raw):
            assert listed(raw) == (["akita/1.jpg"], {".trash": NOT_READ, ".cache": NOT_READ})
    finally:
        (raw / ".trash").chmod(0o755)
