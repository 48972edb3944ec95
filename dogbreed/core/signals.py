"""SIGTERM and Ctrl-C end a job at once where nothing is half done, and after the present step elsewhere."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dogbreed.core.errors import ShutdownRequested

_WORDS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_asked: list[int] = []  # the signal that asked for the end
_holding: list[None] = []  # one entry for each `deferred` block that runs


def install_handlers() -> None:
    """Take both signals from now on; call this before TensorFlow is imported, which takes seconds."""
    _asked.clear()
    for number in _WORDS:
        signal.signal(number, _on_signal)


def reinstall_handlers() -> None:
    """Take both signals back from TensorFlow, which takes SIGTERM for itself when it joins other workers."""
    for number in _WORDS:
        if signal.getsignal(number) is _on_signal:  # as far as Python knows, which is all that TensorFlow leaves
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first one is being obeyed
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait
    _asked.append(number)
    if not _holding:
        raise_if_requested()


def raise_if_requested() -> None:
    """Raise Stopped once a signal has come; also again, where a library has swallowed the first one."""
    if _asked:
        word = _WORDS[signal.Signals(_asked[0])]
        raise ShutdownRequested(f"stopped by {word}; run the same command again to go on", 128 + _asked[0])


@contextmanager
def deferred() -> Iterator[None]:
    """Let what is inside come to its end before a signal counts."""
    _holding.append(None)
    try:
        yield
    finally:
        _holding.pop()
    raise_if_requested()
