"""The binary archives of CIFAR-10 and CIFAR-100 (never the pickled ones).

Layout: https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky, 2009). A record is its labels, a byte each, then
32 x 32 pixels as all reds, all greens and all blues, row by row.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, NotFound
from dogbreed.core.storage import Store
from dogbreed.core.storage.walk import NOT_A_FILE
from dogbreed.data.raw import SourceImage
from dogbreed.data.raw.archive import TarStream, read_files
from dogbreed.data.raw.census import NOT_AN_IMAGE, Ignored, ignore_other_files
from dogbreed.data.splits import TEST, TRAIN

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE  # bytes
LIMIT = 512 << 20  # bytes of one member, unpacked; the largest published one has 154 MB


@dataclass(frozen=True)
class Layout:
    """The content of one of the archives: files of train and test, the file of class names, and the label in use."""

    archive: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: int  # bytes before the pixels; the last one is the class


LAYOUTS = {
    "cifar10": Layout(
        "cifar-10-binary.tar.gz",
        tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        1,
    ),
    "cifar100": Layout("cifar-100-binary.tar.gz", ("train.bin",), "test.bin", "fine_label_names.txt", 2),
}


class Cifar:
    """The images of one binary archive below `raw`; see dogbreed.data.raw.Source."""

    def __init__(self, raw: Store, name: str) -> None:
        self._layout = LAYOUTS[name]
        self.ignored = Ignored()
        ignore_other_files(raw, (self._layout.archive,), self.ignored)
        self._where = raw.uri_of(self._layout.archive)
        try:
            packed = raw.read(self._layout.archive)
        except NotFound as error:
            raise NotFound(f"{self._where} does not exist; put the binary archive of {name} there") from error
        self.digest = sha256_hex(packed)
        self._files = self._unpack(packed)
        self._require_different_files()
        classes = self._class_names()
        self.images = [image for file, split in self._parts() for image in self._records(file, split, classes)]

    def _parts(self) -> Iterator[tuple[str, str]]:
        yield from ((file, TRAIN) for file in self._layout.train)
        yield self._layout.test, TEST

    def _unpack(self, packed: bytes) -> dict[str, bytes]:
        wanted = {*self._layout.train, self._layout.test, self._layout.names}
        files: dict[str, bytes] = {}
        skipped: list[str] = []
        try:
            with gzip.open(io.BytesIO(packed)) as plain:
                tar = TarStream(plain)  # type: ignore[arg-type]
                for member, content in read_files(tar, LIMIT, skipped, self._is_wanted):
                    name = PurePosixPath(member.name).name
                    if name in files:
                        raise CorruptData(f"{self._where} has two files {name}; fetch it again")
                    files[name] = content
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise CorruptData(f"{self._where} is truncated or damaged ({error}); fetch it again") from error
        for name in skipped:
            self.ignored.add(name, NOT_A_FILE)
        if missing := wanted - files.keys():
            raise CorruptData(f"{self._where} lacks {', '.join(sorted(missing))}; fetch it again")
        return files

    def _is_wanted(self, name: str) -> bool:
        if PurePosixPath(name).name in (*self._layout.train, self._layout.test, self._layout.names):
            return True
        self.ignored.add(name, NOT_AN_IMAGE)
        return False

    def _require_different_files(self) -> None:
        """Raise CorruptData if two files hold the same images: each image would count twice."""
        first: dict[bytes, str] = {}
        for file, _ in self._parts():
            other = first.setdefault(self._files[file], file)
            if other != file:
                raise CorruptData(f"{other} and {file} in {self._where} are equal; fetch it again")

    def _class_names(self) -> list[str]:
        """Return the lines of the file of names, a class each, in label order; CorruptData if one is empty or double.

        Line ends may be those of Windows, and empty lines may follow: the published file of CIFAR-10 has one.
        """
        where = f"{self._layout.names} in {self._where}"
        try:
            names = [line.strip() for line in self._files[self._layout.names].decode("utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise CorruptData(f"{where} is not UTF-8 ({error}); fetch the archive again") from error
        while names and not names[-1]:
            names.pop()
        for line, name in enumerate(names, start=1):
            if not name or name in names[: line - 1]:
                raise CorruptData(
                    f"line {line} of {where} is {name!r}, empty or a second time; fetch the archive again"
                )
        return names

    def _records(self, file: str, split: str, classes: list[str]) -> Iterator[SourceImage]:
        data, length = self._files[file], self._layout.labels + PIXELS
        if not data or len(data) % length:
            raise CorruptData(
                f"{file} in {self._where} has {len(data)} bytes, not a multiple of {length}; fetch it again"
            )
        labels = data[self._layout.labels - 1 :: length]
        if max(labels) >= len(classes):
            raise CorruptData(f"{file} in {self._where} has label {max(labels)}, {len(classes)} classes are named")
        yield from (SourceImage(f"{file}/{n:05}", classes[label], split) for n, label in enumerate(labels))

    def read(self, image: SourceImage) -> bytes:
        file, number = image.source_id.split("/")
        start = int(number) * (self._layout.labels + PIXELS) + self._layout.labels
        planes = np.frombuffer(self._files[file], np.uint8, PIXELS, start).reshape(3, SIDE, SIDE)
        buffer = io.BytesIO()
        Image.fromarray(planes.transpose(1, 2, 0)).save(buffer, "PNG")
        return buffer.getvalue()
