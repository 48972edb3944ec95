"""One attempt at the job: a process of its own, started, waited for or killed from outside."""

import multiprocessing
import time
from dataclasses import dataclass
from typing import ClassVar

from tests.faults import job

LIMIT = 120.0  # seconds; an attempt takes about one, and what is not over by then hangs
KILLED = -9

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["tests.faults.warm"])


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    exit_code: int | None  # KILLED after a SIGKILL, None when it did not end within LIMIT
    stderr: str
    calls: tuple[str, ...]  # to the watched store, for example "put manifest.json"
    moments: tuple[float, ...]  # of these calls, in seconds since the first
    seconds: float  # from the first call to the end


class Attempt:
    """A running job; `context` decides between a forked warm interpreter and a fresh one."""

    context: ClassVar[multiprocessing.context.BaseContext] = _forked

    def __init__(self, order: job.Order) -> None:
        self._order = order
        self._pipe, theirs = self.context.Pipe(duplex=False)
        self._process = self.context.Process(target=job.run, args=(order, theirs))  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def wait(self) -> Outcome:
        """Wait for its end; whatever hangs is killed."""
        calls, moments = list[str](), list[float]()
        self._pipe.poll(LIMIT)
        began = time.monotonic()
        try:
            while self._pipe.poll(max(0.0, began + LIMIT - time.monotonic())):
                calls.append(self._pipe.recv())
                moments.append(time.monotonic() - began)
        except (EOFError, OSError):  # OSError: killed in the middle of a message
            self._process.join(LIMIT)
        code = self._process.exitcode
        self._process.kill()
        self._process.join()
        self._pipe.close()
        errors = self._order.stderr.read_text() if self._order.stderr.exists() else ""
        return Outcome(code, errors, tuple(calls), tuple(moments), time.monotonic() - began)

    def kill_after(self, seconds: float) -> Outcome:
        """SIGKILL it so long after its first call to a store, unless it has ended by then."""
        self._pipe.poll(LIMIT)
        self._process.join(seconds)
        self._process.kill()
        return self.wait()


def attempt(order: job.Order) -> Outcome:
    """Run the job to its end."""
    return Attempt(order).wait()
