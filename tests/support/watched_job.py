"""A job in a process of its own that tells each call to a store and can kill itself at one of them."""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tenacity
from botocore.config import Config

from dogbreed.core.storage import LocalStore, S3Store, Store
from dogbreed.core.storage import s3 as s3_module

LINKS = "os.link"  # the call inside a folder's put that makes a written file an object
STEPS = "steps"  # of a training


@dataclass(frozen=True)
class Kill:
    """Die by SIGKILL before, or after, the n-th call; the first is 1."""

    call: int
    after: bool = False


@dataclass(frozen=True)
class Patience:
    """How often and how long the job asks S3, in place of the suite's own 8 attempts of 60 seconds."""

    attempts: int
    seconds: float


@dataclass(frozen=True)
class Order:
    """One run of the job: its command line, where its output goes, and what is to happen to it."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    stderr: Path
    stdout: Path
    module: str = "jobs.preprocess"
    watched: str | None = None  # the URI of the store whose calls count, LINKS, STEPS, or None for all stores
    kill: Kill | None = None
    patience: Patience | None = None


class Watch:
    """Counts calls from any thread; only the outermost counts, since a store's methods call one another."""

    def __init__(self, order: Order, calls: Connection) -> None:
        self._order, self._calls = order, calls
        self._lock, self._here, self._count = threading.Lock(), threading.local(), 0
        self._waited = 0.0  # seconds that a training was in calls of its MLflow run

    def put_on(self, kind: type[Store]) -> None:
        """Wrap each method that a store must have: read, read_range, open, put, put_file, list, list_objects, ..."""
        for name in Store.__abstractmethods__:
            setattr(kind, name, self._watched(name, getattr(kind, name)))

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def watched(store: Store, *arguments: Any, **options: Any) -> Any:
            if self._order.watched not in (None, store.uri) or getattr(self._here, "inside", False):
                return method(store, *arguments, **options)
            with self._call(" ".join([name, *map(str, arguments[:1])])):
                result = method(store, *arguments, **options)
                return (
                    iter(list(result)) if name.startswith("list") else result
                )  # a generator calls nothing until it is read

        return watched

    def link(self, *arguments: Any, _link: Callable[..., None] = os.link, **options: Any) -> None:
        """Stand in for os.link."""
        with self._call("link"):
            _link(*arguments, **options)

    def count_steps(self) -> None:
        """Count the steps of a training instead, each at its end, and the seconds it waits for its MLflow run."""
        from dogbreed.tracking.resumable_run import ResumableRun
        from dogbreed.training.state import TrainState

        for name in ("__enter__", "log_metrics", "state", "restore"):
            setattr(ResumableRun, name, self._timed(getattr(ResumableRun, name)))

        advance = TrainState.advance

        @wraps(advance)
        def watched(state: TrainState, steps: int = 1) -> None:
            with self._call("step"):
                advance(state, steps)

        TrainState.advance = watched  # type: ignore[method-assign]

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def timed(*arguments: Any) -> Any:
            began = time.monotonic()
            try:
                return method(*arguments)
            finally:
                self._waited += time.monotonic() - began

        return timed

    @contextmanager
    def _call(self, text: str) -> Iterator[None]:
        with self._lock:
            self._count += 1
            number = self._count
            self._calls.send((text, self._waited))
            self._die_at(Kill(number))
        self._here.inside = True
        try:
            yield
        finally:
            self._here.inside = False
            self._die_at(Kill(number, after=True))

    def _die_at(self, moment: Kill) -> None:
        if self._order.kill == moment:
            os.kill(os.getpid(), signal.SIGKILL)


def run(order: Order, calls: Connection) -> None:
    """Be the process `python -m jobs.NAME ...`; each watched call goes into `calls`, with the seconds waited."""
    for path, descriptor in ((order.stdout, 1), (order.stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    os.environ.update(order.environment)
    tempfile.tempdir = None  # as in a new process: TMPDIR decides
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked: tqdm makes a lock
    watch = Watch(order, calls)
    for kind in (LocalStore, S3Store):
        watch.put_on(kind)
    if order.watched == LINKS:
        os.link = watch.link
    if order.watched == STEPS:
        watch.count_steps()
    if order.patience:
        _shorten(order.patience)
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _shorten(patience: Patience) -> None:
    """Botocore knows no environment variable for its timeouts, and the suite has no option for them."""
    shorter = Config(
        connect_timeout=patience.seconds,
        read_timeout=patience.seconds,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
    )
    s3_module.S3_CONFIG = s3_module.S3_CONFIG.merge(shorter)
    for method in (S3Store._get, S3Store._put):
        method.retry.wait = tenacity.wait_none()
