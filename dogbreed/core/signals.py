"""Graceful shutdown: SIGTERM, SIGHUP, Ctrl-C raise ShutdownRequested at once or, inside `deferred`, at a safe point."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from dogbreed.core.errors import RetryableError, ShutdownRequested

LOOK_EVERY = 0.2  # seconds between two looks for a signal
T = TypeVar("T")

_SIGNALS = {  # name and exit code; a terminal that is closed is a reason to stop like any other
    signal.SIGTERM: ("SIGTERM", 143),
    signal.SIGHUP: ("SIGHUP", 143),
    signal.SIGINT: ("Ctrl-C", 130),
}
_received: list[int] = []  # numbers of the signals so far
_deferring: list[None] = []  # one entry for each `deferred` block that is active


def install_handlers() -> None:
    """Install handlers for SIGTERM, SIGHUP and SIGINT; call this before TensorFlow is imported, which takes seconds.

    SIGHUP stays ignored if it is: under nohup.
    """
    _received.clear()
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _on_signal)


def reinstall_handlers() -> None:
    """Install the handlers again: TensorFlow replaces the one of SIGTERM when it connects to other workers."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _on_signal:  # in Python's view, which TensorFlow does not change
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the shutdown has begun
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends the process at once
    _received.append(number)
    if not _deferring:
        raise_if_requested()


def raise_if_requested() -> None:
    """Raise ShutdownRequested if a signal was received; also again, where a library has caught the first exception."""
    if _received:
        name, exit_code = _SIGNALS[signal.Signals(_received[0])]
        raise ShutdownRequested(f"stopped by {name}; run the same command again to continue", exit_code)


@contextmanager
def deferred() -> Iterator[None]:
    """Raise for a signal at the end of the block only, or where the block calls `raise_if_requested`."""
    _deferring.append(None)
    try:
        yield
    finally:
        _deferring.pop()
    raise_if_requested()


def run_interruptible(call: Callable[[], T], seconds: float, late: str) -> T:
    """Return the result of `call`, run on a thread: a signal ends the wait, which TensorFlow would not allow.

    RetryableError(late) when it takes longer than so many seconds.
    """
    found: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            found.set_result(call())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, daemon=True, name="waiting").start()
    until = time.monotonic() + seconds
    while not futures.wait([found], LOOK_EVERY).done:
        raise_if_requested()
        if time.monotonic() > until:
            raise RetryableError(late)
    return found.result()
