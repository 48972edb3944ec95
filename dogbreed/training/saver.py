"""When checkpoints are written: beside the training, every so many steps or seconds, and at its end."""

import logging
import re
import threading
import time
from dataclasses import dataclass

from dogbreed.platform.errors import DogbreedError, UnknownName
from dogbreed.platform.lease import Lease
from dogbreed.training.checkpoint import Checkpoints, Snapshot

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Every:
    """So many steps, or so many seconds."""

    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, text: str) -> "Every":
        """Read `200` (steps), `90s`, `5m` or `1h`; UnknownName for anything else."""
        match = re.fullmatch(r"(?P<number>[1-9]\d{0,8})(?P<unit>[smh]?)", text)
        if match is None:
            raise UnknownName(f"--checkpoint-every {text!r}: give steps (200) or a time (90s, 5m, 1h)")
        number = int(match["number"])
        return cls(seconds=number * SECONDS[match["unit"]]) if match["unit"] else cls(steps=number)


class Saver:
    """Writes snapshots on a thread of its own, one at a time; what fails is a warning, the next one follows."""

    def __init__(self, checkpoints: Checkpoints, every: Every, lease: Lease) -> None:
        self.checkpoints, self._every, self._lease = checkpoints, every, lease
        self._step, self._time = 0, time.monotonic()
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None  # why the last snapshot could not be written

    def is_due(self, step: int) -> bool:
        """Say whether a checkpoint should be written at the end of `step`; TryAgain when the lease was lost."""
        self._lease.check()
        if self._every.steps:
            return step - self._step >= self._every.steps
        busy = self._thread is not None and self._thread.is_alive()
        return not busy and time.monotonic() - self._time >= self._every.seconds

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a snapshot, after the one that is being written."""
        self.wait()
        self._step, self._time = snapshot.course.step, time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), daemon=True, name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last snapshot is written."""
        if self._thread:
            self._thread.join()

    def _write(self, snapshot: Snapshot) -> None:
        step = snapshot.course.step
        try:
            self.checkpoints.write(snapshot)
            self._failed = None
            log.info("checkpoint of step %d written", step)
        except (DogbreedError, OSError) as error:
            self._failed = error
            log.warning("no checkpoint of step %d, training goes on: %s", step, error)

    def holds(self) -> str:
        """Say what of a finished training is in the store."""
        where = self.checkpoints.store.uri
        if self._failed:
            return f"the last checkpoint could not be written to {where} either ({self._failed}); run the same again"
        return f"model, metrics and optimizer are in {where}, the same command will only deliver them"
