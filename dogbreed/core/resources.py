"""What this machine or container gives a job: memory, GPUs, scratch space, a place among workers.

The one library module that reads the environment: what a container was given stands nowhere else.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import psutil

from dogbreed.core.errors import EnvironmentUnsupported, RetryableError, UsageError

GIB = 1 << 30
REMOTE_IO_THREADS = 16  # most of the time of a small request is waiting
PROBE = b"\0" * (1 << 20)  # one block of any file system is smaller
WORKER_PORT = 2222  # at which workers of one training meet, as in TensorFlow's own examples


@dataclass(frozen=True)
class ClusterSpec:
    """The workers of one training, each a process, mostly on a machine of its own."""

    addresses: tuple[str, ...]  # host:port of each; the first is the chief
    process_index: int  # of this one


def cluster_from_env() -> ClusterSpec:
    """Return the workers that the environment names, one where it names none; UsageError for what makes no sense.

    TF_CONFIG counts first. Otherwise DOGBREED_WORKERS says how many there are, JOB_COMPLETION_INDEX which one this
    is, and worker i is at <DOGBREED_WORKER_JOB>-<i>.<DOGBREED_WORKER_SERVICE>: an Indexed Job and a headless Service.
    """
    if text := os.environ.get("TF_CONFIG"):
        return _of_tf_config(text)
    if os.environ.get("DOGBREED_WORKERS", "1") == "1":
        return ClusterSpec(("localhost",), 0)
    count, index = _number("DOGBREED_WORKERS"), _number("JOB_COMPLETION_INDEX")
    job, service = _given("DOGBREED_WORKER_JOB"), _given("DOGBREED_WORKER_SERVICE")
    if index >= count:
        raise UsageError(f"JOB_COMPLETION_INDEX is {index}, DOGBREED_WORKERS {count}; give the Job {count} completions")
    return ClusterSpec(tuple(f"{job}-{number}.{service}:{WORKER_PORT}" for number in range(count)), index)


def _of_tf_config(text: str) -> ClusterSpec:
    try:
        told = json.loads(text)
        jobs = {name: list(told["cluster"].get(name, [])) for name in ("chief", "worker")}
        hosts, task = (*jobs["chief"], *jobs["worker"]), told["task"]
        index = int(task["index"]) + (len(jobs["chief"]) if task["type"] == "worker" else 0)
        if task["type"] not in jobs or not 0 <= int(task["index"]) < len(jobs[task["type"]]):
            raise ValueError("its task is none of its workers")
        if not all(re.fullmatch(r"\S+:\d+", host) for host in hosts):
            raise ValueError("a worker is host:port")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        example = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
        raise UsageError(f"TF_CONFIG={text} names no worker ({error}); it should be like {example}") from error
    return ClusterSpec(tuple(map(str, hosts)), index)


def _number(name: str) -> int:
    text = _given(name)
    if not text.isdigit():
        raise UsageError(f"{name}={text!r} is no number; set it to one, or set TF_CONFIG")
    return int(text)


def _given(name: str) -> str:
    if not os.environ.get(name):
        raise UsageError(f"DOGBREED_WORKERS names several workers, but {name} is not set; set it, or TF_CONFIG")
    return os.environ[name]


def memory_limit() -> int:
    """Return the bytes that this process may use: the machine's memory or a cgroup's lower limit (v1 and v2)."""
    limits = [psutil.virtual_memory().total]
    for path in _limit_files(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")):
        if path.is_file() and (text := path.read_text().strip()).isdigit():  # "max" is none
            limits.append(int(text))
    return min(limits)


def check_memory(needed: int, what: str) -> None:
    """Raise EnvironmentUnsupported when `needed` bytes are more than half of what this process may use."""
    if needed > memory_limit() / 2:
        raise EnvironmentUnsupported(
            f"{needed / GIB:.1f} GiB for {what}: more than half of {memory_limit() / GIB:.1f} GiB"
        )


def _limit_files(groups: Path, mount: Path) -> list[Path]:
    """Return where the limits of this process and of the groups around it stand.

    A container sees its own group as the mount's root, whatever path /proc names.
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
    """Return how many photos to work on at a time: one a core, more over a network.

    More than cores cost local work a quarter of its speed.
    """
    return cores() if local else max(REMOTE_IO_THREADS, cores())


@contextmanager
def thread_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads; when an error or SIGTERM ends the block, what has not begun is not done any more."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def container_gpu_count() -> int:
    """Return how many NVIDIA GPUs this container was given, whether or not TensorFlow sees them.

    Outside a container the answer is 0: a GPU of the machine was not given to anybody. Windows' Linux has no device
    for each GPU, so one is counted.
    """
    if os.environ.get("NVIDIA_VISIBLE_DEVICES", "") in ("", "none", "void"):
        return 0
    devices = len([path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)])
    devices = devices or int(Path("/dev/dxg").exists())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return devices
    return min(devices, len([name for name in chosen.split(",") if name.strip() not in ("", "-1")]))


def check_scratch(needed: float) -> str:
    """Write and read back a file in the temporary folder and return what is free there.

    EnvironmentUnsupported when it cannot be written, RetryableError when fewer than `needed` GiB are free.
    """
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()  # Python silently takes another one for a bad TMPDIR
    if not Path(folder).is_dir():
        raise EnvironmentUnsupported(f"{folder} is no folder; set TMPDIR to one that can be written")
    free = psutil.disk_usage(folder).free / GIB
    if free < needed:
        raise RetryableError(f"{folder} has {free:.2f} GiB free, {needed:g} are needed; make room or set TMPDIR")
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
    return f"{folder}: {free:.1f} GiB free"
