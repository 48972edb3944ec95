"""Random image folders of each layout: every file is used or ignored, whatever lies beside the classes."""

import io
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from dogbreed.core.errors import DataError
from dogbreed.core.storage import LocalStore
from dogbreed.data.raw.census import is_hidden
from dogbreed.data.raw.image_folder import ImageFolder
from dogbreed.data.raw.labels import LabelsOption

LAYOUTS = {  # layout -> folders of its images, of which a tree has some
    "classes": ("akita", "beagle", "Ünïcode ß"),
    "splits": ("train/akita", "train/beagle", "Valid/akita", "valid/beagle", "test/akita", "test/unknown"),
    "groups": ("hounds/beagle", "hounds/whippet", "toys/pug", "toys", "akita"),
    "links": ("akita", "beagle"),
    "labels": ("images", "train", "test", "hounds/beagle"),
    "anything": (),
}
IMAGES = ("1.jpg", "2.JPG", "3.png", "4.webp", "6.jfif", "7.gif", "photo")
FOLDERS = ("akita", "beagle", "train", "test", ".cache", "__MACOSX", "@eaDir", "a b", "deep/er", "train/akita", "")
NAMES = (*IMAGES, "._1.jpg", ".8.jpg.icloud", ".DS_Store", "Thumbs.db", "notes.txt", "5.heic", "plain", "readme.md")
LINKS = ("akita/link", "beagle/link.jpg", "clone", "train/clone", ".cache/link")
TARGETS = ("folder", "folder", "file", "nowhere", "up")
ROWS = ("1.jpg", "2", "photo", "9.jpg")  # of a table besides whole keys; of several images of a name none is meant


def encoded() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = encoded()


@dataclass(frozen=True)
class Tree:
    """Keys of files, links and their kinds of targets, and the rows of a table."""

    files: Set[str]
    links: dict[str, str]
    rows: dict[str, str]

    def write(self, store: LocalStore, outside: Path) -> set[str]:
        """Write the tree, and a folder outside it; return the names that are to be used or ignored."""
        for key in self.files:
            store.put(key, JPEG if key.rpartition("/")[2] in IMAGES else b"text")
        if self.rows:
            store.put("labels.csv", "\n".join(["file,label", *map(",".join, self.rows.items())]).encode())
        LocalStore(outside).put("1.jpg", JPEG)
        LocalStore(outside).put("notes.txt", b"text")
        targets = {"folder": outside, "file": outside / "1.jpg", "nowhere": outside / "nowhere", "up": store.root}
        for key, kind in self.links.items():
            (store.root / key).parent.mkdir(parents=True, exist_ok=True)
            (store.root / key).symlink_to(targets[kind])
        names = {*self.files, *self.links, *(["labels.csv"] if self.rows else [])}
        followed = min((key for key, kind in self.links.items() if kind == "folder" and not is_hidden(key)), default="")
        return names - {followed} | {f"{followed}/1.jpg", f"{followed}/notes.txt"} if followed else names


@st.composite
def trees(draw: st.DrawFn, layout: str) -> Tree:
    """Draw the folders of a layout with images, other files among them, links and a table."""
    folders = LAYOUTS[layout]
    chosen = draw(st.sets(st.sampled_from(folders), min_size=2)) if folders else set[str]()
    names = st.sets(st.sampled_from(IMAGES), min_size=1, max_size=4)
    files = {f"{folder}/{name}" for folder in sorted(chosen) for name in draw(names)}
    others = st.sets(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), max_size=8 if folders else 25)
    files |= {f"{folder}/{name}".lstrip("/") for folder, name in draw(others)}
    kinds = st.dictionaries(st.sampled_from(LINKS), st.sampled_from(TARGETS), min_size=1)
    rows = st.dictionaries(st.sampled_from([*sorted(files), *ROWS]), st.sampled_from(["a", "b", ""]), min_size=1)
    return Tree(files, draw(kinds) if layout == "links" else {}, draw(rows) if layout == "labels" else {})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_used_and_ignored_add_up_to_the_number_of_files(layout: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    used: list[int] = []

    @settings(max_examples=10, deadline=None)
    @given(tree=trees(layout))
    def check(tree: Tree) -> None:
        store = LocalStore(tmp_path_factory.mktemp("raw"))
        expected = tree.write(store, tmp_path_factory.mktemp("outside"))
        try:
            source = ImageFolder(store, LabelsOption("labels.csv") if tree.rows else None)
        except DataError as error:  # another layout, or no image: nothing is used
            event(f"{layout}: {type(error).__name__}")
            used.append(0)
            return
        event(f"{layout}: used")
        used.append(len(source.images))
        names = [image.source_id for image in source.images]
        names += [key for keys in source.ignored.names.values() for key in keys]
        assert sorted(names) == sorted(expected)
        assert len(source.images) + len(source.ignored) == len(expected)

    check()
    assert any(used), f"no tree of {layout} was accepted"
