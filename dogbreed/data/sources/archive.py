"""Index of an uncompressed tar in a store: where each member lies, and the hash of it and of the whole."""

import hashlib
import io
import logging
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO

from dogbreed.platform.errors import DamagedData, MissingObject
from dogbreed.platform.storage import Store

END = 1024  # bytes: a whole tar ends with two empty 512-byte blocks
MEMBER_LIMIT = 64 << 20  # bytes; the largest published photo has 8.4 million pixels
HEADER_LIMIT = 64 << 10  # bytes of a long name or a PAX header
EXTENSIONS = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}

log = logging.getLogger(__name__)


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

    Nothing is extracted. DamagedData for a tar that is not whole: tarfile takes a cut at a header and a stray empty
    block for a clean end, so the closing blocks are asked for and nothing but zeros may follow them.
    """
    try:
        opened = store.open(key)
    except MissingObject as error:
        raise MissingObject(f"{store.at(key)} does not exist; run jobs.fetch --raw {store.uri} first") from error
    stream, members = _Hashing(opened), []
    try:
        with opened, open_tar(stream, "r|") as tar:
            for member, file in regular_files(tar, MEMBER_LIMIT):
                content = file.read()
                digest = hashlib.sha256(content).hexdigest()
                members.append(Member(member.name, member.offset_data, len(content), digest))
                if visit:
                    visit(member.name, content)
            stream.drain()
            if stream.filled > tar.offset:
                raise tarfile.ReadError("it goes on after its closing blocks")
            if stream.count < tar.offset + END:
                raise tarfile.ReadError("it ends before its closing blocks")
    except tarfile.TarError as error:
        raise DamagedData(f"{store.at(key)} is truncated or damaged ({error}); delete it and run jobs.fetch") from error
    return Archive(stream.count, stream.digest.hexdigest(), tuple(members))


@contextmanager
def open_tar(stream: io.IOBase, mode: str) -> Iterator[tarfile.TarFile]:
    """Open a tar for reading; tarfile.ReadError for headers that make tarfile fall, recurse or allocate."""
    try:
        with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Strict) as tar:  # type: ignore[call-overload]
            yield tar
    except (ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise tarfile.ReadError(f"unreadable header: {error}") from error


def regular_files(tar: tarfile.TarFile, limit: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield each regular file with its content; links and devices are ignored aloud.

    tarfile.ReadError for a member of more than `limit` bytes, before any of them is read or skipped.
    """
    for member in tar:
        size = max(member.size, tar.offset - member.offset_data)  # what is read, and what is skipped
        if size > limit + tarfile.BLOCKSIZE or member.issparse():
            raise tarfile.ReadError(f"{member.name!r} is sparse or has {size} bytes, limit {limit}")
        content = tar.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member, content
        elif not member.isdir():
            log.warning("ignored %r: a link, a device or of a type of its own", member.name)


class _Strict(tarfile.TarInfo):
    """A header that is refused where tarfile would take it for the archive's end or believe any length."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Strict":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in EXTENSIONS and header.size > HEADER_LIMIT):
            raise tarfile.ReadError(f"header {header.name!r} claims {header.size} bytes, limit {HEADER_LIMIT}")
        return header


class _Hashing(io.RawIOBase):
    """Hashes and counts what passes through, and remembers where the last byte was that is not zero."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest, self.count, self.filled = hashlib.sha256(), 0, 0

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self.digest.update(block)
        if content := len(block.rstrip(b"\0")):
            self.filled = self.count + content
        self.count += len(block)
        return block

    def drain(self) -> None:
        while self.read(1 << 20):
            pass
