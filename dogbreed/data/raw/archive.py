"""Index of an uncompressed tar in a store: offset and SHA-256 of each member, SHA-256 of the whole."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, DataError, NotFound
from dogbreed.core.storage import Store

END = 1024  # bytes: a complete tar ends with two empty 512-byte blocks
MEMBER_LIMIT = 64 << 20  # bytes; the largest published image has 8.4 million pixels
HEADER_LIMIT = 64 << 10  # bytes of all headers of one member: its own, long names, PAX records
ZIP = b"PK\x03\x04"
COMPRESSED = {  # first bytes -> name and the command that writes the tar
    b"\x1f\x8b": ("gzip", "gzip -dc"),
    b"BZh": ("bzip2", "bzip2 -dc"),
    b"\xfd7zXZ\0": ("xz", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
}


@dataclass(frozen=True)
class Member:
    """One regular file inside a tar: its place and the SHA-256 of its content."""

    name: str
    offset: int
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the archive index."""
        return {"name": self.name, "offset": self.offset, "size": self.size, "sha256": self.sha256}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Member":
        """Return what `to_dict` was made of."""
        return cls(entry["name"], entry["offset"], entry["size"], entry["sha256"])


@dataclass(frozen=True)
class Archive:
    """A tar in a store: length in bytes, SHA-256, and its members where they are indexed."""

    bytes: int
    sha256: str
    members: tuple[Member, ...] = ()
    skipped: tuple[str, ...] = ()  # names of the members that are neither files nor folders: links and devices


def index(store: Store, key: str, visit: Callable[[str, bytes], None] | None = None) -> Archive:
    """Stream a tar once and return its index; `visit(name, content)` sees each regular file.

    Nothing is extracted. tarfile accepts a cut at a header or a stray empty block as a clean end, so the closing blocks
    are required, and nothing but zeros may follow them.

    Raises:
        NotFound: there is no such archive.
        CorruptData: the tar is incomplete or damaged.
    """
    try:
        opened = store.open(key)
    except NotFound as error:
        raise NotFound(_missing(store, key)) from error
    stream, members = TarStream(opened), []
    skipped: list[str] = []
    try:
        with opened:
            for member, content in read_files(stream, MEMBER_LIMIT, skipped):
                digest = sha256_hex(content)
                members.append(Member(member.name, member.offset_data, len(content), digest))
                if visit:
                    visit(member.name, content)
    except tarfile.TarError as error:
        _refuse_compressed(store, key)
        raise CorruptData(
            f"{store.uri_of(key)} is truncated or damaged ({error}); delete it and run jobs.fetch"
        ) from error
    return Archive(stream.count, stream.digest.hexdigest(), tuple(members), tuple(skipped))


def _missing(store: Store, key: str) -> str:
    """Return the message for an archive that does not exist; it may be there in compressed form."""
    others = [name for name in store.list(key.removesuffix("tar")) if name != key and "/" not in name]
    there = f", but {', '.join(others)} does: decompress it to {key}, or" if others else ";"
    advice = f"run jobs.fetch --raw {store.uri} first, or use --source image-folder for a folder of images"
    return f"{store.uri_of(key)} does not exist{there} {advice}"


def _refuse_compressed(store: Store, key: str) -> None:
    """Raise DataError if what is called a tar is a compressed file."""
    head = store.read_range(key, 0, 8)
    if head.startswith(ZIP):
        folder = key.removesuffix(".tar")
        raise DataError(
            f"{store.uri_of(key)} is a zip archive and no tar; repack it: unzip -d {folder} {key} "
            f"&& mv {key} {key}.zip && tar -cf {key} -C {folder} ."
        )
    for magic, (name, command) in COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"{store.uri_of(key)} is compressed ({name}), which cannot be read in parts; write the plain tar: "
                f"{command} {key} > plain.tar && mv plain.tar {key}"
            )


def read_files(
    stream: "TarStream",
    limit: int,
    skipped: list[str],
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield each regular file that is wanted with its content, then read to the end of the stream.

    The names of links and devices are added to `skipped`.

    Raises:
        tarfile.ReadError: a member has more than `limit` bytes (raised before any of them is read or skipped), headers
            that make tarfile fail, recurse or allocate, or an incomplete tar.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                stream.end_header()
                _check_size(member, tar.offset - member.offset_data, limit)
                if not (member.isreg() or member.isdir()):
                    skipped.append(member.name)
                elif member.isreg() and wanted(member.name):
                    stream.seek(member.offset_data)
                    yield member, stream.read_content(member.size)
            stream.read_rest(tar.offset)
    except (ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise tarfile.ReadError(f"unreadable header: {error}") from error


def _check_size(member: tarfile.TarInfo, skipped: int, limit: int) -> None:
    """Raise tarfile.ReadError unless a member and the bytes up to the next header are within the limit."""
    if member.issparse() or min(member.size, skipped) < 0 or max(member.size, skipped) > limit + tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"{member.name!r} is sparse or has {member.size} bytes, limit {limit}")


class TarStream(io.RawIOBase):
    """The file from which tarfile reads headers: forward only, few bytes a member, everything hashed and counted.

    tarfile trusts any length in a header. The limit is enforced here because the method of tarfile that parses a header
    differs between patch releases, while `read` and `seek` of the file that it is given stay the same.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._allowed = stream, HEADER_LIMIT
        self.digest, self.count, self.filled = hashlib.sha256(), 0, 0

    def tell(self) -> int:
        return self.count

    def read(self, size: int = -1) -> bytes:
        """Return bytes of a header; tarfile.ReadError beyond HEADER_LIMIT since the last `end_header`."""
        self._allowed -= size
        if size < 0 or self._allowed < 0:
            raise tarfile.ReadError(f"a header before byte {self.count} claims {size} bytes, limit {HEADER_LIMIT}")
        return self._take(size)

    def end_header(self) -> None:
        """Allow as many bytes for the next member's headers."""
        self._allowed = HEADER_LIMIT

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read up to an offset, or to the end if that comes first."""
        if offset < self.count:
            raise tarfile.ReadError(f"a header at byte {self.count} leads back to {offset}")
        while self.count < offset and self._take(min(offset - self.count, 1 << 20)):
            pass
        return self.count

    def read_content(self, size: int) -> bytes:
        """Return `size` bytes of a member; tarfile.ReadError when there are fewer."""
        content = self._take(size)
        if len(content) < size:
            raise tarfile.ReadError("unexpected end of data")
        return content

    def read_rest(self, end: int) -> None:
        """Read to the end; tarfile.ReadError unless two empty blocks and only zeros follow the last member."""
        while self._take(1 << 20):
            pass
        if self.filled > end:
            raise tarfile.ReadError(f"neither a header nor the end is at byte {end}")
        if self.count < end + END:
            raise tarfile.ReadError("it ends before its closing blocks")

    def _take(self, size: int) -> bytes:
        block = self._stream.read(size)
        self.digest.update(block)
        if content := len(block.rstrip(b"\0")):
            self.filled = self.count + content
        self.count += len(block)
        return block
