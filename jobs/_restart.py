"""Restart of a worker's process when another worker of its training is lost, as torchrun does.

TensorFlow cannot connect a process to other workers twice, so the program is replaced (execve). The process id, the
container and its pod stay the same.
"""

import logging
import os
import signal
import sys
from typing import NoReturn

from dogbreed.core.errors import UsageError, WorkerLost

RESTARTS = "DOGBREED_RESTARTS"  # how often this process has been restarted, set by itself

log = logging.getLogger(__name__)


def count() -> int:
    """Return how often this process has been restarted; UsageError if the variable is not a number."""
    text = os.environ.get(RESTARTS, "0")
    if not text.isdecimal():
        raise UsageError(f"{RESTARTS} is {text!r}, not a number; jobs.train sets it itself: unset it")
    return int(text)


def restart(error: WorkerLost, max_restarts: int) -> NoReturn:
    """Start this program again with the same options.

    SIGTERM and SIGHUP wait from here on until jobs/__init__.py has its handlers: a container's first process without
    a handler never gets them.

    Raises:
        WorkerLost: `error`, after `max_restarts` restarts.
    """
    restarts = count() + 1
    if restarts > max_restarts:
        raise error
    log.warning("%s; restarting this worker (%d of at most %d times)", error, restarts, max_restarts)
    os.environ[RESTARTS] = str(restarts)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    os.execv(sys.executable, sys.orig_argv)
