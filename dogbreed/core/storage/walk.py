"""All files below a folder, also behind links: each real folder is read once."""

import heapq
import os
import stat
from collections.abc import Callable
from pathlib import Path

from dogbreed.core.errors import PermissionDenied
from dogbreed.core.storage.base import ObjectInfo

BROKEN_LINK = "broken link"
LINK_LOOP = "link to a folder above it"
READ_ALREADY = "link to a folder that is read anyway"
NOT_A_FILE = "no regular file"
NOT_READ = "folder of the system"


def walk_with_links(root: Path, skipped: dict[str, str], is_hidden: Callable[[str], bool]) -> list[ObjectInfo]:
    """Return the files below `root` in order of their keys, and add what is not one to `skipped`, key -> reason.

    A folder inside `root` is read under its own name, whatever links to it; one outside under the first link to it.

    Args:
        is_hidden: tells the keys of files and folders of the system, whose links are not followed and which may be
            unreadable.

    Raises:
        PermissionDenied: a folder cannot be read.
    """
    walk = _Walk(root, skipped, is_hidden)
    walk.read(root, "")
    while walk.links:
        key, link = heapq.heappop(walk.links)
        if reason := walk.why_not_followed(key, link):
            skipped[key] = reason
        else:
            walk.read(link, key)
    return sorted(walk.files)


class _Walk:
    """What was read so far, and the links to folders that have not been followed."""

    def __init__(self, root: Path, skipped: dict[str, str], is_hidden: Callable[[str], bool]) -> None:
        self._root, self._skipped, self._is_hidden = root.resolve(), skipped, is_hidden
        self._seen: set[tuple[int, int]] = set()  # device and inode of the folders
        self.files: list[ObjectInfo] = []
        self.links: list[tuple[str, Path]] = []  # a heap, by key

    def read(self, start: Path, prefix: str) -> None:
        """Add the files below `start`, whose keys begin with `prefix`, and the links to folders."""

        def refuse(error: OSError) -> None:
            key = _join(prefix, Path(error.filename).relative_to(start).as_posix())
            if isinstance(error, PermissionError) and self._is_hidden(key):
                self._skipped[key] = NOT_READ
            elif isinstance(error, PermissionError):
                raise _denied(Path(error.filename)) from error
            elif not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        for folder, subfolders, names in os.walk(start, onerror=refuse):
            base = _join(prefix, Path(folder).relative_to(start).as_posix())
            self._seen.add(_identity(Path(folder)))
            subfolders[:] = [name for name in subfolders if self._is_entered(Path(folder, name), _join(base, name))]
            for name in names:
                self._add(Path(folder, name), _join(base, name))

    def _is_entered(self, folder: Path, key: str) -> bool:
        """Tell whether a subfolder is read now; a link is kept for later."""
        if folder.is_symlink():
            heapq.heappush(self.links, (key, folder))
            return False
        if _identity(folder) in self._seen:  # behind another link
            self._skipped[key] = READ_ALREADY
            return False
        return True

    def why_not_followed(self, key: str, link: Path) -> str | None:
        """Return the reason not to follow a link to a folder, None to follow it."""
        if self._is_hidden(key):
            return NOT_READ
        target = link.resolve()
        if self._root.is_relative_to(target) or link.parent.resolve().is_relative_to(target):
            return LINK_LOOP
        return READ_ALREADY if _identity(target) in self._seen else None

    def _add(self, path: Path, key: str) -> None:
        try:
            found = path.stat()
        except PermissionError as error:
            raise _denied(path) from error
        except OSError:
            self._skipped[key] = BROKEN_LINK
            return
        if stat.S_ISREG(found.st_mode):
            self.files.append(ObjectInfo(key, found.st_size, str(found.st_mtime_ns)))
        else:
            self._skipped[key] = NOT_A_FILE


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except PermissionError as error:
        raise _denied(path) from error
    return found.st_dev, found.st_ino


def _join(base: str, name: str) -> str:
    return "/".join(part for part in (base, name) if part not in ("", "."))


def _denied(path: Path) -> PermissionDenied:
    return PermissionDenied(f"{path} cannot be read by this user; change its permissions or its owner")
