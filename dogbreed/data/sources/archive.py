"""Index of an uncompressed tar in a store: where each member lies, and the hash of it and of the whole."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dogbreed.platform.errors import DamagedData, MissingObject
from dogbreed.platform.storage import Store

END = bytes(1024)  # a whole tar ends with two empty 512-byte blocks


@dataclass(frozen=True)
class Member:
    """One regular file inside a tar: its place and the SHA-256 of its content."""

    name: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A tar in a store: length in bytes, SHA-256, and its members where they are indexed."""

    bytes: int
    sha256: str
    members: tuple[Member, ...] = ()


def index(store: Store, key: str, visit: Callable[[str, bytes], None] | None = None) -> Archive:
    """Stream a tar once and return its index; `visit(name, content)` sees each regular file.

    Nothing is extracted and links are ignored. A truncated tar raises DamagedData: tarfile takes a
    cut at a header for a clean end, so the closing empty blocks are asked for.
    """
    try:
        opened = store.open(key)
    except MissingObject as error:
        raise MissingObject(f"{store.at(key)} does not exist; run jobs.fetch --raw {store.uri} first") from error
    stream, members = _Hashing(opened), []
    try:
        with opened:
            for name, offset, content in _files(stream):
                members.append(Member(name, offset, len(content), hashlib.sha256(content).hexdigest()))
                if visit:
                    visit(name, content)
            stream.drain()
    except tarfile.TarError as error:
        raise DamagedData(f"{store.at(key)} is truncated or damaged ({error}); delete it and run jobs.fetch") from error
    if not stream.tail.endswith(END):
        raise DamagedData(f"{store.at(key)} ends before its closing blocks; delete it and run jobs.fetch")
    return Archive(stream.count, stream.digest.hexdigest(), tuple(members))


def _files(stream: "_Hashing") -> Iterator[tuple[str, int, bytes]]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, member.offset_data, content.read()


class _Strict(tarfile.TarInfo):
    """A header that tarfile would take for the archive's end when it is damaged."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Strict":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


class _Hashing(io.RawIOBase):
    """Hashes and counts what passes through, and remembers the last bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest, self.count, self.tail = hashlib.sha256(), 0, b""

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self.digest.update(block)
        self.count += len(block)
        self.tail = (self.tail + block)[-len(END) :]
        return block

    def drain(self) -> None:
        while self.read(1 << 20):
            pass
