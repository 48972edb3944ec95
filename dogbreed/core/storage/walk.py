"""All files below a folder, also behind links: each real folder is read once."""

import os
import stat
from pathlib import Path

from dogbreed.core.errors import PermissionDenied
from dogbreed.core.storage.base import ObjectInfo

BROKEN_LINK = "broken link"
LINK_LOOP = "link to a folder above it"
READ_ALREADY = "link to a folder that is read anyway"
NOT_A_FILE = "no regular file"


def walk_with_links(root: Path, skipped: dict[str, str]) -> list[ObjectInfo]:
    """Return the files below `root` in order of their keys, and add what is not one to `skipped`, key -> reason.

    A folder inside `root` is read under its own name, whatever links to it; one outside under the first link to it.

    Raises:
        PermissionDenied: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    files: list[ObjectInfo] = []
    links = [("", root)]
    while links:
        key, start = links.pop(0)
        if key and (reason := _why_not_followed(start, root, seen)):
            skipped[key] = reason
            continue
        links = sorted(links + _walk_real(start, key, seen, files, skipped))
    return sorted(files)


def _why_not_followed(link: Path, root: Path, seen: set[tuple[int, int]]) -> str | None:
    target = link.resolve()
    if root.resolve().is_relative_to(target) or link.parent.resolve().is_relative_to(target):
        return LINK_LOOP
    return READ_ALREADY if _identity(target) in seen else None


def _walk_real(
    start: Path, prefix: str, seen: set[tuple[int, int]], files: list[ObjectInfo], skipped: dict[str, str]
) -> list[tuple[str, Path]]:
    """Add the files below `start`, without following links to folders, and return those links with their keys."""
    links = []
    for folder, subfolders, names in os.walk(start, onerror=_refuse):
        seen.add(_identity(Path(folder)))
        inside = Path(folder).relative_to(start).as_posix()
        base = "/".join(part for part in (prefix, inside) if part not in ("", "."))
        for name in subfolders:
            if Path(folder, name).is_symlink():
                links.append((_join(base, name), Path(folder, name)))
        for name in names:
            found = _info(Path(folder, name), _join(base, name))
            if isinstance(found, ObjectInfo):
                files.append(found)
            else:
                skipped[_join(base, name)] = found
    return links


def _info(path: Path, key: str) -> ObjectInfo | str:
    """Return what a listing tells of a file, or why it is none."""
    try:
        found = path.stat()
    except PermissionError as error:
        raise _denied(path) from error
    except OSError:
        return BROKEN_LINK
    if not stat.S_ISREG(found.st_mode):
        return NOT_A_FILE
    return ObjectInfo(key, found.st_size, str(found.st_mtime_ns))


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except PermissionError as error:
        raise _denied(path) from error
    return found.st_dev, found.st_ino


def _join(base: str, name: str) -> str:
    return f"{base}/{name}" if base else name


def _refuse(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise _denied(Path(error.filename)) from error
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _denied(path: Path) -> PermissionDenied:
    return PermissionDenied(f"{path} cannot be read by this user; change its permissions or its owner")
