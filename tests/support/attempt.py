"""One attempt at the job: a process of its own, started, waited for or killed from outside."""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from tests.support.watched_job import Order, run

LIMIT = 300.0  # seconds; only trainings that wait for MLflow take more than a few, and what is not over by then hangs
END = 30.0  # seconds that a process may take to end after its last call, or to be over after LIMIT
KILLED = -9

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["tests.support.preload"])


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    exit_code: int | None  # KILLED after a SIGKILL, None when it did not end within LIMIT
    stderr: str
    calls: tuple[str, ...]  # to the watched store, for example "put manifest.json"
    moments: tuple[float, ...]  # of these calls, in seconds since the first
    waited: tuple[float, ...]  # seconds that a training had waited for its MLflow run by then, in all
    seconds: float  # from the first call to the end
    first: float  # seconds from the start to the first call


class Attempt:
    """A running job; `context` decides between a forked warm interpreter and a fresh one."""

    context: ClassVar[multiprocessing.context.BaseContext] = _forked

    def __init__(self, order: Order) -> None:
        self._order = order
        self._calls, self._moments, self._waited = list[str](), list[float](), list[float]()
        self._started = time.monotonic()
        self._began: float | None = None  # of the first call
        self._pipe, theirs = self.context.Pipe(duplex=False)
        self._process = self.context.Process(target=run, args=(order, theirs))  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def wait(self) -> Outcome:
        """Wait for its end; whatever hangs is killed."""
        self.wait_for(None)
        self._process.join(END)
        code = self._process.exitcode
        self._process.kill()
        self._process.join()
        self._pipe.close()
        ended, began = time.monotonic(), self._began or self._started
        errors = self._order.stderr.read_text() if self._order.stderr.exists() else ""
        moments = tuple(moment - began for moment in self._moments)
        return Outcome(
            code, errors, tuple(self._calls), moments, tuple(self._waited), ended - began, began - self._started
        )

    def wait_for(self, calls: int | None) -> "Attempt":
        """Wait until so many watched calls have begun, or all, or the limit has passed."""
        until = time.monotonic() + LIMIT
        try:
            while (calls is None or len(self._calls) < calls) and self._pipe.poll(max(0.0, until - time.monotonic())):
                call, waited = self._pipe.recv()
                self._calls.append(call)
                self._waited.append(waited)
                self._moments.append(time.monotonic())
                self._began = self._began or self._moments[0]
        except (EOFError, OSError):  # OSError: killed in the middle of a message
            pass
        return self

    def kill_after(self, seconds: float, number: int = signal.SIGKILL) -> Outcome:
        """Send it a signal so long after its first watched call, unless it has ended by then."""
        self.wait_for(1)
        self._process.join(seconds)
        if self._process.exitcode is None:
            with suppress(ProcessLookupError):  # it may end at this very moment
                os.kill(int(self._process.pid or 0), number)
        return self.wait()


def attempt(order: Order) -> Outcome:
    """Run the job to its end."""
    return Attempt(order).wait()
