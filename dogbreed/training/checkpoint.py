"""Checkpoints of one job key in a store: when one is due, its files, and the thread that writes them.

`<step>-<lease>-<write>/` holds training.npz, state.json, spool and, written last, COMMIT.json with the SHA-256 of each:
a checkpoint without it is none, on stores without a rename too. No name is used twice: each start has a lease number of
its own (dogbreed.core.lease) and counts its writes. Neither tf.train.CheckpointManager nor orbax writes to any S3
with create-only puts, verifies each file and goes back to the one before.
"""

import io
import json
import logging
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dogbreed.core.canonical_json import dumps, dumps_with_digest, loads_verified, sha256_hex, sha256_of_file
from dogbreed.core.errors import CorruptData, DataError, DogbreedError, NotFound, UsageError
from dogbreed.core.lease import Lease
from dogbreed.core.storage import Store
from dogbreed.training.state import Arrays, TrainState

FORMAT = 3
MAX_TO_KEEP = 3
NAME = re.compile(r"(\d{8,})-(\d+)-(\d+)")  # of a checkpoint; leases lie beside them
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
ARRAYS, STATE, SPOOL, COMMIT = "training.npz", "state.json", "spool", "COMMIT.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class CheckpointId:
    """The name of a checkpoint, in the order in which they were written; all zeros for none."""

    step: int = 0
    lease: int = 0  # number of the lease under which it was written
    write: int = 0  # number of the write under that lease

    @property
    def dirname(self) -> str:
        """The name of its folder."""
        return f"{self.step:08d}-{self.lease}-{self.write}"

    @classmethod
    def from_dirname(cls, name: str) -> "CheckpointId | None":
        """Return the checkpoint in a folder of that name, None for what is no checkpoint's name."""
        match = NAME.fullmatch(name)
        return cls(*map(int, match.groups())) if match else None


@dataclass(frozen=True)
class Snapshot:
    """A training between two of its steps."""

    state: TrainState
    arrays: Arrays  # model/*, optimizer/* and best/*, the weights of the best epoch so far
    metric_spool: bytes  # state of the metric logger
    id: CheckpointId = CheckpointId()  # once it was written


class CheckpointManager:
    """Writes and restores the checkpoints of one training."""

    def __init__(self, store: Store, fingerprint: str, lease: int) -> None:
        """fingerprint: hash of all that determines the training. lease: number of the lease that this process holds."""
        self.store, self._fingerprint, self._lease = store, fingerprint, lease
        self._writes = 0
        self._damaged = set[CheckpointId]()  # found by restore_latest

    def restore_latest(self) -> Snapshot | None:
        """Return the newest checkpoint that is whole, None without one; a damaged one is logged and passed over."""
        for checkpoint in self._list_committed():
            try:
                return self.restore(checkpoint)
            except (CorruptData, NotFound) as error:
                log.warning("checkpoint %s is damaged (%s); going back to the one before", checkpoint.dirname, error)
                self._damaged.add(checkpoint)
        return None

    def restore(self, checkpoint: CheckpointId) -> Snapshot:
        """Return one checkpoint.

        Raises:
            CorruptData, NotFound: it is not whole.
            DataError: it belongs to another training, or to another version of this suite.
        """
        folder = checkpoint.dirname
        commit = self._read_commit(folder)
        files = {name: self.store.read(f"{folder}/{name}") for name in (ARRAYS, STATE, SPOOL)}
        for name, data in files.items():
            if sha256_hex(data) != commit["files"][name]["sha256"]:
                raise CorruptData(f"{name} differs from its SHA-256 in {COMMIT}")
        with np.load(io.BytesIO(files[ARRAYS]), allow_pickle=False) as arrays:
            state = TrainState.from_dict(json.loads(files[STATE]))
            return Snapshot(state, dict(arrays), files[SPOOL], checkpoint)

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint, then remove all but the newest three that are not damaged."""
        self._writes += 1
        checkpoint = CheckpointId(snapshot.state.global_step, self._lease, self._writes)
        folder = checkpoint.dirname
        files = {STATE: dumps(snapshot.state.to_dict()), SPOOL: snapshot.metric_spool}
        found = {name: {"bytes": len(data), "sha256": sha256_hex(data)} for name, data in files.items()}
        with tempfile.NamedTemporaryFile(prefix="dogbreed-", suffix=".npz") as temporary:
            np.savez(temporary, **snapshot.arrays)  # type: ignore[arg-type]  # numpy's stub takes no mapping
            temporary.flush()
            arrays = Path(temporary.name)
            self.store.put_file(f"{folder}/{ARRAYS}", arrays)
            found[ARRAYS] = {"bytes": arrays.stat().st_size, "sha256": sha256_of_file(arrays)}
        for name, data in files.items():
            self.store.put(f"{folder}/{name}", data)
        commit = {"format": FORMAT, "job_fingerprint": self._fingerprint, "files": found}
        self.store.put(f"{folder}/{COMMIT}", dumps_with_digest(commit))
        self._remove_old(checkpoint)

    def delete_all(self) -> None:
        """Remove all checkpoints."""
        for checkpoint in self._list_checkpoints():
            self._remove(checkpoint)

    def _read_commit(self, folder: str) -> dict[str, Any]:
        try:
            commit = loads_verified(self.store.read(f"{folder}/{COMMIT}"))
        except ValueError as error:
            raise CorruptData(f"{COMMIT}: {error}") from error
        if commit["format"] != FORMAT:
            raise DataError(
                f"{self.store.uri_of(folder)} is a checkpoint of format {commit['format']}, this version reads format "
                f"{FORMAT}; train on with the version that wrote it, or begin anew: the same command with --restart"
            )
        if commit["job_fingerprint"] != self._fingerprint:
            raise DataError(
                f"{self.store.uri_of(folder)} is a checkpoint of another recipe, dataset, seed or weights; "
                "choose another --name, or begin anew with --restart"
            )
        return commit

    def _list_checkpoints(self) -> list[CheckpointId]:
        """Return all checkpoints, whole or not, the newest first."""
        found = {CheckpointId.from_dirname(key.partition("/")[0]) for key in self.store.list()}
        return sorted((checkpoint for checkpoint in found if checkpoint), reverse=True)

    def _list_committed(self) -> Iterator[CheckpointId]:
        keys = set(self.store.list())
        return (checkpoint for checkpoint in self._list_checkpoints() if f"{checkpoint.dirname}/{COMMIT}" in keys)

    def _remove_old(self, written: CheckpointId) -> None:
        whole = (checkpoint for checkpoint in self._list_committed() if checkpoint not in self._damaged)
        kept = [checkpoint for checkpoint in whole if checkpoint <= written][:MAX_TO_KEEP]
        for checkpoint in self._list_checkpoints():
            if checkpoint not in kept:
                self._remove(checkpoint)

    def _remove(self, checkpoint: CheckpointId) -> None:
        for name in (COMMIT, ARRAYS, STATE, SPOOL):  # COMMIT first: what is half removed is no checkpoint
            self.store.delete(f"{checkpoint.dirname}/{name}")


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
        """Begin to write a snapshot, once the one before it is written."""
        self.wait_until_finished()
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
