"""A lease on a prefix of a store: one process at a time holds it, and a dead one loses it.

Leases are numbered objects, each put with `If-None-Match: *`: whoever puts the next number holds the lease. No clock is
compared with another machine's: a lease counts as live while its holder puts new numbers.
"""

import json
import logging
import os
import socket
import threading
import time
from typing import Any

import psutil

from dogbreed.core import signals
from dogbreed.core.errors import AlreadyExists, DogbreedError, LeaseLost, NotFound, RetryableError
from dogbreed.core.storage import Store

RENEWED_EVERY = 10.0  # seconds
DEAD_AFTER = 35.0  # seconds without a new number: three renewals that did not come
LOOK_EVERY = 1.0  # seconds between two looks at another's lease

log = logging.getLogger(__name__)


class Lease:
    """The right to be the one that works on `what`; a context that renews it on a thread of its own."""

    def __init__(self, store: Store, what: str) -> None:
        self.number = 0  # at which this process got it: no other has the same until the work is done
        self._store, self._what = store, what
        self._last = 0
        self._lost: str | None = None
        self._ended = threading.Event()

    def __enter__(self) -> "Lease":
        """Take the lease; RetryableError while another live process has it."""
        self._last = self._wait_until_free()
        if not self._put_next():
            raise RetryableError(f"{self._what} has just been taken by another process, which goes on with it")
        self.number = self._last
        threading.Thread(target=self._renew, daemon=True, name="lease").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the lease back, so that the next process need not wait; done work leaves nothing of it."""
        self._ended.set()
        try:
            if kind:
                self._put_next(released=True)
            else:
                for number in (self._last - 1, self._last):
                    self._store.delete(_key(number))
        except (DogbreedError, OSError) as failed:
            log.warning("the lease on %s was not given back and ends in %.0f s: %s", self._what, DEAD_AFTER, failed)

    def check(self) -> None:
        """Raise LeaseLost when another process has the lease, as it may after this one was silent for long."""
        if self._lost:
            raise LeaseLost(f"{self._what} was taken over by {self._lost} while this process was silent")

    def _newest(self) -> int:
        return max((int(key.split("/")[1].split(".")[0]) for key in self._store.list("lease/")), default=0)

    def _read(self, number: int) -> dict[str, Any]:
        try:
            return dict(json.loads(self._store.read(_key(number))))
        except (NotFound, ValueError):  # replaced meanwhile, or damaged: its number is what counts
            return {}

    def _wait_until_free(self) -> int:
        """Return the number of the newest lease once it has ended, 0 where there was none."""
        number = self._newest()
        lease = self._read(number) if number else {"released": True}
        holder = str(lease.get("holder", "unknown"))
        if lease.get("released") or _is_dead(holder):
            return number
        alive = RetryableError(f"{self._what} is being worked on by {holder}; wait for its end, or stop it")
        if _host(holder) == socket.gethostname():
            raise alive
        log.info("%s was worked on by %s; seeing for %.0f s whether that is alive", self._what, holder, DEAD_AFTER)
        until = time.monotonic() + DEAD_AFTER
        while time.monotonic() < until and self._newest() == number:
            time.sleep(LOOK_EVERY)
            signals.raise_if_requested()
        newest = self._newest()
        if newest != number and not self._read(newest).get("released"):
            raise alive
        return newest

    def _put_next(self, **more: bool) -> bool:
        """Put the next number; False when another process has put it.

        The one before stays, so that a listing that misses the newest one does not look like no lease at all.
        """
        content = {"holder": _holder(), **more}
        try:
            self._store.put(_key(self._last + 1), json.dumps(content).encode())
        except AlreadyExists:
            if self._read(self._last + 1) != content:  # a lost reply makes a retried put meet its own object
                return False
        self._store.delete(_key(self._last - 1))
        self._last += 1
        return True

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            try:
                if not self._put_next():
                    self._lost = self._read(self._last + 1).get("holder", "another process")
                    return
            except (DogbreedError, OSError) as error:
                log.warning("the lease on %s could not be renewed: %s", self._what, error)


def _key(number: int) -> str:
    return f"lease/{number:08d}.json"


def _holder() -> str:
    """Return host, process and its start: the same for no two processes."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def _host(holder: str) -> str:
    return holder.partition("/")[0]


def _is_dead(holder: str) -> bool:
    """Say whether a holder of this host has ended; False for one of another host, which cannot be known."""
    if _host(holder) != socket.gethostname():
        return False
    _, pid, start_time = holder.split("/")
    try:
        process = psutil.Process(int(pid))
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - float(start_time)) > 1
    except psutil.NoSuchProcess:
        return True
