"""The resources of this machine or container: memory, cores, threads, GPUs and scratch space.

This module and `rendezvous` are the only ones of the library that read environment variables: nothing else tells what a
container may use.
"""

import gc
import os
import re
import resource
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import joblib
import psutil

from dogbreed.core.errors import EnvironmentUnsupported, RetryableError, UsageError

MIB, GIB = 1 << 20, 1 << 30
REMOTE_IO_THREADS = 16  # most of the time of a small request is waiting
PROBE = b"\0" * MIB  # one block of any file system is smaller
SCRATCH_LIMIT = "DOGBREED_SCRATCH_LIMIT"
SCRATCH_RESERVE = 64 * MIB  # of the limit: for figures, tables and caches, whose sizes are not checked one by one
BINARY_SUFFIXES = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}  # powers of two


def memory_limit() -> int:
    """Return the bytes that this process may use: the machine's memory, or less.

    A cgroup (v1 and v2) and RLIMIT_AS (`ulimit -v`) limit it; the latter counts address space, of which libraries
    reserve more than they use.
    """
    limits = [psutil.virtual_memory().total]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        used = psutil.Process().memory_info()
        limits.append(max(0, address_space - (used.vms - used.rss)))
    for path in _limit_files(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")):
        if path.is_file() and (text := path.read_text().strip()).isdigit():  # "max" is none
            limits.append(int(text))
    return min(limits)


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes.

    Linux' VmHWM where it exists: ru_maxrss of getrusage also counts the process that started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * 1024


def check_memory(needed: int, what: str) -> None:
    """Raise EnvironmentUnsupported when `needed` bytes are more than half of what this process may use."""
    if needed > memory_limit() / 2:
        raise EnvironmentUnsupported(
            f"{needed / GIB:.1f} GiB for {what}: more than half of {memory_limit() / GIB:.1f} GiB"
        )


def _limit_files(groups: Path, mount: Path) -> list[Path]:
    """Return the files that may hold a memory limit of this process or of a cgroup around it.

    A container sees its own cgroup as the root of the mount, whatever path /proc names.
    """
    files = [mount / "memory.max", mount / "memory" / "memory.limit_in_bytes"]
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        for place in (group := Path(path.strip("/")), *group.parents):
            if not controllers:
                files.append(mount / place / "memory.max")
            elif "memory" in controllers.split(","):
                files.append(mount / "memory" / place / "memory.limit_in_bytes")
    return files


def cores() -> int:
    """Return the cores that this process may use: affinity and cgroup limits count."""
    return int(joblib.cpu_count())


def io_threads(local: bool) -> int:
    """Return how many images to process at a time: one per core, more over a network.

    On local files, more threads than cores make the work a quarter slower.
    """
    return cores() if local else max(REMOTE_IO_THREADS, cores())


@contextmanager
def thread_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads; at the end of the block, tasks that have not started are cancelled."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def no_gc() -> Iterator[None]:
    """Pause Python's garbage collection, which would scan modules and lists of images again and again, for 1 s in all.

    Objects that were made meanwhile are never scanned.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def container_gpu_count() -> int:
    """Return how many NVIDIA GPUs this container was given, whether or not TensorFlow sees them.

    Outside a container this is 0. WSL 2 has no device file for each GPU, so one is counted there.
    """
    if os.environ.get("NVIDIA_VISIBLE_DEVICES", "") in ("", "none", "void"):
        return 0
    devices = len([path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)])
    devices = devices or int(Path("/dev/dxg").exists())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return devices
    return min(devices, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def scratch_folder() -> Path:
    """Return the folder for temporary files."""
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir())  # Python silently takes another for a bad TMPDIR


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
    left = _left_of_limit(folder)
    return _free_disk(folder) if left is None else min(_free_disk(folder), left)


def check_free_scratch(needed: int, what: str, folder: Path | None = None) -> None:
    """Raise an error before `needed` bytes are written to a folder, by default the scratch folder, that is too full.

    Raises:
        EnvironmentUnsupported: they would exceed DOGBREED_SCRATCH_LIMIT.
        RetryableError: the disk has no room for them.
    """
    folder = folder or scratch_folder()
    left, free = _left_of_limit(folder), _free_disk(folder)
    if left is not None and left < needed + SCRATCH_RESERVE:
        raise EnvironmentUnsupported(
            f"{what}: {_mib(needed + SCRATCH_RESERVE)} of scratch space are needed, {_mib(left)} are left in "
            f"{scratch_folder()}, whose limit is {os.environ[SCRATCH_LIMIT]}; raise the sizeLimit of that volume and "
            f"{SCRATCH_LIMIT}"
        )
    if free < needed:
        raise RetryableError(
            f"{what}: {_mib(needed)} are needed, {folder} has {_mib(free)} free; make room or set TMPDIR"
        )


def _left_of_limit(folder: Path) -> int | None:
    """Return how far the scratch folder is below its limit; None without a limit, and for a folder elsewhere."""
    scratch, limit = scratch_folder().resolve(), scratch_limit()
    if limit is None or not folder.resolve().is_relative_to(scratch):
        return None
    return limit - _used_bytes(scratch)


def _free_disk(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return int(psutil.disk_usage(str(existing)).free)


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
        EnvironmentUnsupported: the folder cannot be written, or fewer than `needed` GiB are left of its limit.
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
