"""Graceful shutdown: SIGTERM and Ctrl-C raise ShutdownRequested at once or, inside `deferred`, at a safe point."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dogbreed.core.errors import ShutdownRequested

_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_received: list[int] = []  # numbers of the signals so far
_deferring: list[None] = []  # one entry for each `deferred` block that is active


def install_handlers() -> None:
    """Install handlers for SIGTERM and SIGINT; call this before TensorFlow is imported, which takes seconds."""
    _received.clear()
    for number in _NAMES:
        signal.signal(number, _on_signal)


def reinstall_handlers() -> None:
    """Install the handlers again: TensorFlow replaces the one of SIGTERM when it connects to other workers."""
    for number in _NAMES:
        if signal.getsignal(number) is _on_signal:  # in Python's view, which TensorFlow does not change
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the shutdown has begun
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C ends the process at once
    _received.append(number)
    if not _deferring:
        raise_if_requested()


def raise_if_requested() -> None:
    """Raise ShutdownRequested if a signal was received; also again, where a library has caught the first exception."""
    if _received:
        name = _NAMES[signal.Signals(_received[0])]
        raise ShutdownRequested(f"stopped by {name}; run the same command again to continue", 128 + _received[0])


@contextmanager
def deferred() -> Iterator[None]:
    """Raise for a signal at the end of the block only, or where the block calls `raise_if_requested`."""
    _deferring.append(None)
    try:
        yield
    finally:
        _deferring.pop()
    raise_if_requested()
