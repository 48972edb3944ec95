"""Signals: at once where nothing is held, after the block elsewhere, and never lost."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from dogbreed.core import signals
from dogbreed.core.errors import ShutdownRequested


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that were started by nohup ignore it
    signals.install_handlers()
    yield
    signals.install_handlers()  # forgets what was asked
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGHUP, "SIGHUP", 143), (signal.SIGINT, "Ctrl-C", 130)],
)
def test_a_signal_stops_at_once_and_gives_the_usual_exit_code(number: int, word: str, code: int) -> None:
    with pytest.raises(ShutdownRequested, match=word) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.exit_code == code


def test_a_signal_that_a_library_took_for_itself_is_taken_back() -> None:
    ignore = 1  # SIG_IGN, set below Python, as TensorFlow sets its own handler
    ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(ignore))
    os.kill(os.getpid(), signal.SIGTERM)
    signals.raise_if_requested()  # nothing was heard
    signals.reinstall_handlers()
    with pytest.raises(ShutdownRequested):
        os.kill(os.getpid(), signal.SIGTERM)


def asked_in_a_held_block(then: Callable[[], None]) -> None:
    with signals.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        then()


def test_what_is_held_comes_to_its_end_first() -> None:
    ended: list[bool] = []
    with pytest.raises(ShutdownRequested):
        asked_in_a_held_block(lambda: ended.append(True))
    assert ended


def test_a_stop_that_a_library_swallowed_is_raised_again() -> None:
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(ShutdownRequested):
        signals.raise_if_requested()


def test_an_error_in_a_held_block_is_not_replaced() -> None:
    with pytest.raises(ZeroDivisionError):
        asked_in_a_held_block(lambda: print(1 / 0))


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.install_handlers()
    os.kill(os.getpid(), signal.SIGHUP)
    signals.raise_if_requested()


def test_after_a_signal_a_hangup_changes_nothing() -> None:
    with pytest.raises(ShutdownRequested):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)


def test_a_second_sigterm_changes_nothing_and_a_second_ctrl_c_interrupts() -> None:
    with pytest.raises(ShutdownRequested):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
