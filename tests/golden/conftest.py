"""Raw prefixes of two sources, and the same decoders on every machine."""

import io
import tarfile
from pathlib import Path

import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.data import images
from tests.support.golden.datasets import VERSIONS


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same decoders on every machine, as far as hashes know."""
    monkeypatch.setattr(images, "versions", lambda: VERSIONS)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def raw(tmp_path: Path) -> LocalStore:
    """Two photos and an annotation in the published layout, without a split."""
    store, name = LocalStore(tmp_path / "raw"), "n02085620-Chihuahua/n02085620_"
    store.put("images.tar", tar({f"Images/{name}{n}.jpg": b"photo %d" % n for n in (1, 2)}))
    store.put("annotation.tar", tar({f"Annotation/{name}1": b"<annotation/>"}))
    store.put("lists.tar", tar({"file_list.mat": b"not read"}))
    return store


@pytest.fixture
def photos(tmp_path: Path) -> LocalStore:
    """Two photos in folders by split and breed."""
    store = LocalStore(tmp_path / "photos")
    for key in ("train/pug/1.jpg", "test/pug/2.png"):
        store.put(key, key.encode())
    return store
