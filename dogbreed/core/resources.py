"""The resources of this machine or container: memory, cores, threads and GPUs.

This module, `scratch` and `rendezvous` are the only ones of the library that read environment variables: nothing else
tells what a container may use.
"""

import gc
import os
import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import joblib
import psutil

from dogbreed.core.errors import EnvironmentUnsupported

MIB, GIB = 1 << 20, 1 << 30
REMOTE_IO_THREADS = 16  # most of the time of a small request is waiting


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


def is_container(root: Path = Path("/")) -> bool:
    """Return whether this process runs in a container: of Docker, Podman or Kubernetes."""
    markers = (root / ".dockerenv", root / "run" / ".containerenv")
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(marker.exists() for marker in markers)


def gpu_count(root: Path = Path("/")) -> int:
    """Return how many NVIDIA GPUs a process can use here, whether or not TensorFlow sees them.

    Device files are counted, because container runtimes differ in their variables: under CDI NVIDIA_VISIBLE_DEVICES is
    `void`, and Podman sets none. WSL 2 has one file for all GPUs, so one is counted there. A MIG device counts as a
    GPU, and only one does: CUDA shows a process no second one, and no whole GPU beside it, unless CUDA_VISIBLE_DEVICES
    names whole ones (NVIDIA's MIG User Guide, "CUDA Device Enumeration").
    """
    if os.environ.get("NVIDIA_VISIBLE_DEVICES") == "none":
        return 0
    devices = len([path for path in (root / "dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)])
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in (chosen or "").split(",")]
    names = list(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA stops at an invalid name
    only_whole = bool(names) and all(name.startswith("GPU-") for name in names)
    if _has_mig_devices(root) and not only_whole:
        devices = min(devices, 1)
    elif not devices:
        devices = int((root / "dev" / "dxg").exists())
    return devices if chosen is None else min(devices, len(names))


def required_gpu_count(root: Path = Path("/")) -> int:
    """Return how many GPUs TensorFlow must see: all of a container, which has them on purpose, none of a bare host."""
    return gpu_count(root) if is_container(root) else 0


def _has_mig_devices(root: Path) -> bool:
    """Return whether there is access to a MIG device; nvidia-cap1 and nvidia-cap2 configure and monitor MIG only."""
    numbers = [path.name.removeprefix("nvidia-cap") for path in (root / "dev" / "nvidia-caps").glob("nvidia-cap*")]
    return any(number.isdigit() and int(number) > 2 for number in numbers)
