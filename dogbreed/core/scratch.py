"""The folder for temporary files, its free space and its limit."""

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from dogbreed.core.errors import EnvironmentUnsupported, RetryableError, UsageError
from dogbreed.core.resources import GIB, MIB

PROBE = b"\0" * MIB  # one block of any file system is smaller
SCRATCH_LIMIT = "DOGBREED_SCRATCH_LIMIT"
SCRATCH_RESERVE = 64 * MIB  # of the limit: for figures, tables and caches, whose sizes are not checked one by one
BINARY_SUFFIXES = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}  # powers of two


def scratch_folder() -> Path:
    """Return the folder for temporary files."""
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir())  # Python silently takes another for a bad TMPDIR


def own_folder(name: str) -> Path:
    """Return a folder for files that later jobs of this user share; others cannot read or change it.

    Raises:
        EnvironmentUnsupported: it cannot be made, or belongs to another user.
    """
    folder = scratch_folder() / f"{name}-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise EnvironmentUnsupported(f"{error}; set TMPDIR to a folder that this user can write") from error
    if owner != os.getuid():
        raise EnvironmentUnsupported(f"{folder} belongs to user {owner}; remove it, or set TMPDIR to another folder")
    return folder


def scratch_limit() -> int | None:
    """Return the most bytes that may lie below the scratch folder, None where only the disk limits them.

    DOGBREED_SCRATCH_LIMIT is the sizeLimit of that volume: Kubernetes evicts a pod that writes more, and starts
    another one, which does the same.

    Raises:
        UsageError: the variable is neither a number of bytes nor one with a binary suffix.
    """
    text = os.environ.get(SCRATCH_LIMIT, "")
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,17})([KMGTPE]i)?", text)
    if match is None:
        raise UsageError(f"{SCRATCH_LIMIT}={text!r} is not a size; give bytes, or 500Mi, 50Gi")
    return int(match[1]) << BINARY_SUFFIXES[match[2] or ""]


def free_scratch(folder: Path | None = None) -> int:
    """Return the bytes that may still be written to a folder, by default the scratch folder."""
    folder = folder or scratch_folder()
    left, free = _left_of_limit(folder), int(_disk(folder).free)
    return free if left is None else min(free, left)


def check_free_scratch(needed: int, what: str, folder: Path | None = None) -> None:
    """Raise an error before `needed` bytes are written to a folder, by default the scratch folder, that is too full.

    Raises:
        EnvironmentUnsupported: they would exceed DOGBREED_SCRATCH_LIMIT, or the disk is smaller.
        RetryableError: the disk has no room for them now.
    """
    folder = folder or scratch_folder()
    left, disk = _left_of_limit(folder), _disk(folder)
    if left is not None and left < needed + SCRATCH_RESERVE:
        raise EnvironmentUnsupported(
            f"{what}: {_mib(needed + SCRATCH_RESERVE)} of scratch space are needed, {_mib(left)} are left in "
            f"{scratch_folder()}, whose limit is {os.environ[SCRATCH_LIMIT]}; raise the sizeLimit of that volume and "
            f"{SCRATCH_LIMIT}"
        )
    if disk.total < needed:
        raise EnvironmentUnsupported(
            f"{what}: {_mib(needed)} are needed, the disk of {folder} has {_mib(disk.total)}; choose another TMPDIR"
        )
    if disk.free < needed:
        raise RetryableError(
            f"{what}: {_mib(needed)} are needed, {folder} has {_mib(disk.free)} free; make room or set TMPDIR"
        )


def _left_of_limit(folder: Path) -> int | None:
    """Return how far the scratch folder is below its limit; None without a limit, and for a folder elsewhere."""
    scratch, limit = scratch_folder().resolve(), scratch_limit()
    if limit is None or not folder.resolve().is_relative_to(scratch):
        return None
    return limit - _used_bytes(scratch)


def _disk(folder: Path) -> Any:
    """Return the total and free bytes of the disk of a folder, which need not exist yet."""
    return psutil.disk_usage(str(next(path for path in (folder, *folder.parents) if path.is_dir())))


def _used_bytes(folder: Path) -> int:
    """Return the bytes of everything below a folder: of a file its length or its blocks, whichever is more."""
    sizes = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with suppress(OSError):  # it was removed meanwhile
                found = os.lstat(Path(place, name))
                sizes[found.st_ino] = max(found.st_size, 512 * found.st_blocks)  # some file systems allocate later
    return sum(sizes.values())


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"


def check_scratch(needed: float) -> str:
    """Write and read a file in the scratch folder, and return a line about its free space.

    Raises:
        EnvironmentUnsupported: the folder cannot be written, or fewer than `needed` GiB are left of its limit, or its
            disk is smaller.
        RetryableError: fewer than `needed` GiB of the disk are free.
    """
    folder = scratch_folder()
    if not folder.is_dir():
        raise EnvironmentUnsupported(f"{folder} is no folder; set TMPDIR to one that can be written")
    check_free_scratch(int(needed * GIB), "a job")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(PROBE)
            probe.flush()
            os.fsync(probe.fileno())
            probe.seek(0)
            probe.read()
    except OSError as error:
        raise EnvironmentUnsupported(
            f"cannot write in {folder} ({error}); set TMPDIR to a folder that can be written"
        ) from error
    limit = os.environ.get(SCRATCH_LIMIT)
    return f"{folder}: {free_scratch() / GIB:.1f} GiB free" + (f", limit {limit}" if limit else "")
