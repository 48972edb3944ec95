"""When a checkpoint is due, and the thread that writes it."""

import logging
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from dogbreed.core.errors import DogbreedError, RetryableError, UsageError
from dogbreed.core.lease import Lease
from dogbreed.core.scratch import check_free_scratch
from dogbreed.training.checkpoint import CheckpointManager, Snapshot

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointInterval:
    """A number of steps, or a number of seconds, between two checkpoints."""

    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def from_text(cls, text: str) -> "CheckpointInterval":
        """Read `200` (steps), `90s`, `5m` or `1h`; UsageError for anything else."""
        match = re.fullmatch(r"(?P<number>[1-9]\d{0,8})(?P<unit>[smh]?)", text)
        if match is None:
            raise UsageError(f"--checkpoint-every {text!r}: give steps (200) or a time (90s, 5m, 1h)")
        number = int(match["number"])
        return cls(seconds=number * UNITS[match["unit"]]) if match["unit"] else cls(steps=number)


class Checkpointer(Protocol):
    """What a training loop needs of its checkpoints."""

    def check_lease(self) -> None:
        """Raise LeaseLost where another process has taken the training over."""

    def start(self, step: int) -> None:
        """Count the interval from now, and from global step `step`."""

    def should_save(self, step: int) -> bool:
        """Return whether a checkpoint is due after global step `step`."""

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a checkpoint."""

    def wait_until_finished(self) -> None:
        """Wait until the last checkpoint is written."""


class NullCheckpointer:
    """Writes nothing: what a worker that is not the chief has."""

    def check_lease(self) -> None:
        """Hold none."""

    def start(self, step: int) -> None:
        """Do nothing."""

    def should_save(self, step: int) -> bool:
        """Return False."""
        return False

    def save(self, snapshot: Snapshot) -> None:
        """Drop it."""

    def wait_until_finished(self) -> None:
        """Return at once."""


class AsyncCheckpointer:
    """Writes checkpoints on a thread, one at a time; one that fails is a warning, and training continues."""

    def __init__(self, manager: CheckpointManager, interval: CheckpointInterval, lease: Lease) -> None:
        self.manager, self._interval, self._lease = manager, interval, lease
        self._step, self._time = 0, time.monotonic()  # at which the interval began
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None  # of the last checkpoint

    def check_lease(self) -> None:
        """Raise LeaseLost where another process has taken the lease."""
        self._lease.check()

    def start(self, step: int) -> None:
        """Count the interval from now, and from global step `step`."""
        self._step, self._time = step, time.monotonic()

    def should_save(self, step: int) -> bool:
        """Return whether the interval has passed; one in seconds only while no checkpoint is being written."""
        if self._interval.steps:
            return step - self._step >= self._interval.steps
        busy = self._thread is not None and self._thread.is_alive()
        return not busy and time.monotonic() - self._time >= self._interval.seconds

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a snapshot, once the one before it is written.

        Raises:
            EnvironmentUnsupported: DOGBREED_SCRATCH_LIMIT is too small for any.
        """
        self.wait_until_finished()
        with suppress(RetryableError):  # a full disk is a warning of the thread: the next checkpoint may find room
            check_free_scratch(snapshot.array_bytes, "a checkpoint")
        self.start(snapshot.state.global_step)
        self._thread = threading.Thread(target=self._write, args=(snapshot,), daemon=True, name="checkpoint")
        self._thread.start()

    def wait_until_finished(self) -> None:
        """Wait until the last snapshot is written, or has failed."""
        if self._thread:
            self._thread.join()

    def _write(self, snapshot: Snapshot) -> None:
        step = snapshot.state.global_step
        try:
            self.manager.save(snapshot)
            self._error = None
            log.info("checkpoint of step %d written", step)
        except Exception as error:  # on a thread, where it would be lost
            self._error = error
            unexpected = not isinstance(error, DogbreedError | OSError)
            log.warning("no checkpoint of step %d, training continues: %s", step, error, exc_info=unexpected)

    def status(self) -> str:
        """Return a sentence on what of a finished training is in the store."""
        uri = self.manager.store.uri
        if self._error:
            return f"the last checkpoint could not be written to {uri} either ({self._error}); run the same again"
        return f"model, metrics and optimizer are in {uri}, the same command will only deliver them"
