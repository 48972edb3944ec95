"""The batch jobs. What must be right before anything else is imported: signals, standard streams, environment."""

import os
import signal

# As a container's first process Python ignores SIGTERM unless it has a handler, and imports take a second.
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(143))
if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
    signal.signal(signal.SIGHUP, lambda number, frame: os._exit(143))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})  # jobs/_restart.py blocks them

from jobs import _environment, _streams  # noqa: E402  # after the handlers

_streams.open_closed_streams()
OVERRIDDEN = _environment.override()  # logged by jobs._cli, once there is a log
