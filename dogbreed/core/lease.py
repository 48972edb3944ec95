"""A lease on a prefix of a store: one process holds it at a time, another one takes over that of a dead process.

A lease is a series of numbered objects, each written create-only: the process that writes the next number holds the
lease. The number at which a process got it is a fencing token. No clock is compared with another machine's.

state          newest object                      another process
free           none, or `released`                writes the next number and holds the lease
dead           its process on this host is gone   the same
alive          its process on this host runs      raises RetryableError
unknown        a process of another host          waits 35 s: alive if the number grew meanwhile, dead otherwise
lost           of another process                 the former holder raises LeaseLost at its next check
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from typing import Any

import psutil

from dogbreed.core import signals
from dogbreed.core.errors import AlreadyExists, DogbreedError, LeaseLost, NotFound, RetryableError
from dogbreed.core.storage import Store

RENEW_EVERY = 10.0  # seconds
DEAD_AFTER = 35.0  # seconds without a new number: three missed renewals
POLL_EVERY = 1.0  # seconds between two reads of another process's lease

_PROGRAM = secrets.token_hex(4)  # names this program: after execve, process id and start time are the same

log = logging.getLogger(__name__)


class Lease:
    """The exclusive right to work on `what`; a context manager that renews the lease in a thread."""

    def __init__(
        self,
        store: Store,
        what: str,
        renew_every: float = RENEW_EVERY,
        dead_after: float = DEAD_AFTER,
        poll_every: float = POLL_EVERY,
    ) -> None:
        """what: for messages. The intervals are in seconds."""
        self.number = 0  # fencing token: no other process gets the same one
        self._store, self._what = store, what
        self._renew_every, self._dead_after, self._poll_every = renew_every, dead_after, poll_every
        self._last = 0
        self._lost: str | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Lease":
        """Acquire the lease; RetryableError while another live process holds it."""
        self._last = self._wait_until_free_or_expired()
        if not self._put_next():
            raise RetryableError(f"{self._what} was acquired by another process at the same moment")
        self.number = self._last
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the lease, so that the next process need not wait; delete its objects after success."""
        self._ended.set()
        if self._thread:
            self._thread.join(self._dead_after)  # a renewal that is being written would be taken for another process's
        try:
            if kind:
                self._put_next(released=True)
            else:
                for number in (self._last - 1, self._last):
                    self._store.delete(_key(number))
        except (DogbreedError, OSError) as failed:
            log.warning(
                "the lease on %s could not be released and expires in %.0f s: %s", self._what, self._dead_after, failed
            )

    def check(self) -> None:
        """Raise LeaseLost when another process has taken the lease, as it may when this one did not renew it."""
        if self._lost:
            raise LeaseLost(
                f"{self._what} was taken over by {self._lost}, because this process had not renewed its lease"
            )

    def _wait_until_free_or_expired(self) -> int:
        """Return the newest number once its lease is free or its holder dead; 0 without one."""
        number = _newest(self._store)
        lease = _read(self._store, number) if number else {"released": True}
        holder = str(lease.get("holder", "unknown"))
        if lease.get("released") or _is_dead(holder):
            return number
        alive = RetryableError(f"{self._what} is held by {holder}; wait for its end, or stop it")
        if _host(holder) == socket.gethostname():
            raise alive
        log.info("the lease on %s is held by %s; waiting %.0f s for a renewal", self._what, holder, self._dead_after)
        until = time.monotonic() + self._dead_after
        while time.monotonic() < until:
            time.sleep(self._poll_every)
            signals.raise_if_requested()
            newest = _newest(self._store)
            now = _read(self._store, newest) if newest else {"released": True}
            if now.get("released"):
                return newest
            if (newest, now.get("holder", holder)) != (number, holder):  # numbers begin again after a release
                raise alive
        return number

    def _put_next(self, **more: bool) -> bool:
        """Write the next number; False when another process has written it.

        The number before is kept, so that a listing without the newest object does not look like a free lease.
        """
        content = {"holder": _holder(), **more}
        try:
            self._store.put(_key(self._last + 1), json.dumps(content).encode())
        except AlreadyExists:
            # equal content: a retried put, whose first reply was lost, finds its own object
            if _read(self._store, self._last + 1) != content:
                return False
        self._store.delete(_key(self._last - 1))
        self._last += 1
        return True

    def _renew(self) -> None:
        while not self._ended.wait(self._renew_every):
            try:
                if not self._put_next():
                    self._lost = _read(self._store, self._last + 1).get("holder", "another process")
                    return
            except (DogbreedError, OSError) as error:
                log.warning("the lease on %s could not be renewed: %s", self._what, error)


class LeaseWatch:
    """Notices, from one look to the next, that the holder of a lease has ended; it never waits."""

    def __init__(self, dead_after: float = DEAD_AFTER) -> None:
        """dead_after: seconds without a renewal."""
        self._dead_after = dead_after
        self._seen: dict[str, tuple[tuple[int, str], float]] = {}  # by URI: number and holder, and when first seen

    def is_free(self, store: Store) -> bool:
        """Return whether a lease is released, or its holder has ended, or has not renewed it for `dead_after`.

        Work that nobody has a lease on is free only after that time too: its process may be about to acquire one.
        """
        number = _newest(store)
        lease = _read(store, number) if number else {}
        if lease.get("released") or ("holder" in lease and _is_dead(lease["holder"])):
            return True
        now, found = time.monotonic(), (number, str(lease.get("holder", "")))
        known, since = self._seen.setdefault(store.uri, (found, now))
        if known != found:
            self._seen[store.uri] = (found, now)
            return False
        return now - since > self._dead_after


def is_abandoned(store: Store) -> bool:
    """Return whether there is a lease that was not released: its process has crashed, or still runs."""
    number = _newest(store)
    return number > 0 and not _read(store, number).get("released")


def _newest(store: Store) -> int:
    return max((int(key.split("/")[1].split(".")[0]) for key in store.list("lease/")), default=0)


def _read(store: Store, number: int) -> dict[str, Any]:
    try:
        return dict(json.loads(store.read(_key(number))))
    except (NotFound, ValueError):  # replaced meanwhile, or damaged: only its number matters
        return {}


def _key(number: int) -> str:
    return f"lease/{number:08d}.json"


def _holder() -> str:
    """Return host, process id, start time and program, which together are unique."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}/{_PROGRAM}"


def _host(holder: str) -> str:
    return holder.partition("/")[0]


def _is_dead(holder: str) -> bool:
    """Return whether a holder on this host has ended; False for one of another host, which is unknown."""
    if _host(holder) != socket.gethostname():
        return False
    _, pid, start_time, *program = holder.split("/")
    if int(pid) == os.getpid() and program and program != [_PROGRAM]:
        return True
    try:
        process = psutil.Process(int(pid))
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - float(start_time)) > 1
    except psutil.NoSuchProcess:
        return True
