"""jobs.predict below its command line: what --images may name."""

from pathlib import Path

import pytest

from dogbreed.core.storage import open_store
from dogbreed.workflows.predict import open_images


def test_images_may_name_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/c.jpg").touch()
    store, only = open_images(f"{tmp_path}/a b/c.jpg")
    assert (store.uri, only) == (f"{tmp_path}/a b", "c.jpg")
    monkeypatch.chdir(tmp_path / "a b")
    store, only = open_images("c.jpg")
    assert [*store.list()] == [only] == ["c.jpg"]
    open_store(bucket).put("x/c.jpg", b"")
    store, only = open_images(f"{bucket}/x/c.jpg")
    assert (store.uri, only) == (f"{bucket}/x", "c.jpg")


def test_images_may_name_a_folder_that_is_called_like_an_image(tmp_path: Path) -> None:
    (tmp_path / "dogs.png").mkdir()
    store, only = open_images(f"{tmp_path}/dogs.png")
    assert (store.uri, only) == (f"{tmp_path}/dogs.png", None)
