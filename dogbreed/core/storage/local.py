"""Objects as files below a folder."""

import errno
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dogbreed.core.errors import AlreadyExists, DataError, NotFound, PermissionDenied
from dogbreed.core.storage.base import STREAM_BLOCK, ObjectInfo, Store
from dogbreed.core.storage.keys import key_problem
from dogbreed.core.storage.uris import to_name
from dogbreed.core.storage.walk import walk_with_links

TEMPORARY = ".dogbreed-"  # how the name of a file that is not yet an object begins


class LocalStore(Store):
    """Objects as plain files below a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(to_name(root))
        self.root = root

    def read(self, key: str) -> bytes:
        with self.open(key) as stream:
            return stream.read()

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        with self.open(key) as stream:
            stream.seek(offset)
            return stream.read(length)

    def open(self, key: str) -> BinaryIO:
        try:
            return (self.root / key).open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{self.uri_of(key)} does not exist") from error
        except PermissionError as error:
            raise PermissionDenied(
                f"{self.uri_of(key)} cannot be read by this user; change its permissions or its owner"
            ) from error

    def local_path(self, key: str) -> Path | None:
        return self.root / key

    def put(self, key: str, data: bytes) -> None:
        self._link(key, io.BytesIO(data))

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as stream:
            self._link(key, stream)

    def _link(self, key: str, content: BinaryIO) -> None:
        """Write outside the prefix, then link: a killed writer leaves nothing that a reader could see.

        Where the prefix is a mount of its own or its parent is not writable, the file is written inside.
        """
        target = self._target(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        outside = self.root.absolute().parent
        if outside.stat().st_dev == self.root.stat().st_dev and os.access(outside, os.W_OK):
            try:
                return self._link_from(outside, target, content)
            except OSError as error:
                if error.errno != errno.EXDEV:  # two mounts of one disk
                    raise
        return self._link_from(self.root, target, content)

    def _target(self, key: str) -> Path:
        """Return the path that is written or deleted for `key`; DataError for one that could leave the folder."""
        if problem := key_problem(key):
            raise DataError(f"the key {key!r} {problem}; nothing is written at {self.uri}")
        return self.root / key

    def _link_from(self, scratch: Path, target: Path, content: BinaryIO) -> None:
        content.seek(0)
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=TEMPORARY) as temporary:
            shutil.copyfileobj(content, temporary, STREAM_BLOCK)
            temporary.flush()
            os.fchmod(temporary.fileno(), 0o644)
            os.fsync(temporary.fileno())
            try:
                _link(temporary.name, target)
            except FileExistsError as error:
                raise AlreadyExists(f"{target} exists") from error

    def prefix_problem(self) -> str | None:
        if self.root.is_dir():
            return None
        return f"{self.uri} is a file, not a folder" if self.root.exists() else f"{self.uri} does not exist"

    def list(self, prefix: str = "") -> Iterator[str]:
        for found in self.list_objects(prefix):
            yield found.key

    def list_objects(self, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from sorted(found for found in self._walk() if found.key.startswith(prefix))

    def info(self, key: str) -> ObjectInfo | None:
        found = _stat_file(self.root / key)
        return ObjectInfo(key, found.st_size, str(found.st_mtime_ns)) if found else None

    def list_inputs(self, skipped: dict[str, str], is_hidden: Callable[[str], bool]) -> Sequence[ObjectInfo]:
        return walk_with_links(self.root, skipped, is_hidden)

    def _walk(self) -> Iterator[ObjectInfo]:
        """Yield the files in any order: also those behind links, but none in folders behind links."""
        for folder, _, names in os.walk(self.root, onerror=_raise_unless_absent):
            inside = Path(folder).relative_to(self.root).as_posix()
            for name in names:
                found = _stat_file(Path(folder, name))
                if found and not name.startswith(TEMPORARY):
                    key = name if inside == "." else f"{inside}/{name}"
                    yield ObjectInfo(key, found.st_size, str(found.st_mtime_ns))

    def size(self, key: str) -> int | None:
        path = self.root / key
        return path.stat().st_size if path.is_file() else None

    def delete(self, key: str) -> None:
        target = self._target(key)
        target.unlink(missing_ok=True)
        with suppress(OSError):  # it holds other objects, or is not there
            if "/" in key:
                target.parent.rmdir()


def _raise_unless_absent(error: OSError) -> None:
    """Skip a folder that does not exist (any more), is a file, or may not be read."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
        raise error


def _stat_file(path: Path) -> os.stat_result | None:
    """Return the status of a file, None for anything else: a broken link, a loop of links, a pipe."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return found if stat.S_ISREG(found.st_mode) else None


def _link(source: str, target: Path) -> None:
    """Link a file, a second time where a delete has removed the empty folder of the target meanwhile."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
