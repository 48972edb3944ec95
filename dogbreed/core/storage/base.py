"""The API that folders and s3:// prefixes share. A put never overwrites and is never half visible."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dogbreed.core.errors import AlreadyExists, DataError

STREAM_BLOCK = 8 << 20  # bytes a read when a whole archive is streamed: 95 requests for images.tar


class ObjectInfo(NamedTuple):
    """What a listing tells of an object without reading it."""

    key: str
    size: int  # bytes
    version: str  # changes with the content: ETag of an object, mtime in nanoseconds of a file


class Store(ABC):
    """Objects under one prefix; keys are relative, with `/` between their parts."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def uri_of(self, key: str) -> str:
        """Return the full URI of `key`, for messages."""
        return f"{self.uri}/{key}"

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return the whole object; NotFound when there is none."""

    @abstractmethod
    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the object's end."""

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """Return a buffered reader over the whole object."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write a new object (`If-None-Match: *`); AlreadyExists when the key is taken."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Write a new object from a file; AlreadyExists when the key is taken."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, in order."""

    @abstractmethod
    def list_objects(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield key, size and version of the objects that `list` yields, in the same order, in one pass."""

    def info(self, key: str) -> ObjectInfo | None:
        """Return what a listing tells of one object, None when there is no such object."""
        return next((found for found in self.list_objects(key) if found.key == key), None)

    def list_inputs(self, skipped: dict[str, str], is_hidden: Callable[[str], bool]) -> Sequence[ObjectInfo]:
        """Return all objects; in a folder also those behind links, see `walk_with_links`.

        Adds what is no object to `skipped`, key -> reason.
        """
        return [*self.list_objects()]

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the object's length in bytes, None when there is no such object."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; no error when it is not there."""

    def prefix_problem(self) -> str | None:
        """Return why the prefix holds nothing: there is no such folder, or it is a file or object itself; else None."""
        return None

    def server_time(self) -> datetime | None:
        """Return the server's time in UTC, None where objects are files."""
        return None

    def local_path(self, key: str) -> Path | None:
        """Return the file behind `key` where objects are files, None elsewhere."""
        return None

    def commit(self, key: str, data: bytes) -> bool:
        """Put once: True when written, False when the same bytes are there, DataError for others.

        A reply that was lost makes a retried put meet its own object, hence the comparison.
        """
        try:
            self.put(key, data)
        except AlreadyExists as taken:
            if self.read(key) != data:
                raise DataError(
                    f"{self.uri_of(key)} exists with other content; choose another prefix or delete it first"
                ) from taken
            return False
        return True
