"""Checkpoints of one job key in a store: their files, the newest that is whole, and how many are kept.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dogbreed.core.canonical_json import dumps, dumps_with_digest, loads_verified, sha256_hex, sha256_of_file
from dogbreed.core.errors import CorruptData, DataError, NotFound
from dogbreed.core.storage import Store
from dogbreed.training.state import Arrays, TrainState

FORMAT = 3
MAX_TO_KEEP = 3
NAME = re.compile(r"(\d{8,})-(\d+)-(\d+)")  # of a checkpoint; leases lie beside them
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

    @property
    def array_bytes(self) -> int:
        """The length of its arrays, which a temporary file holds while it is written."""
        return sum(array.nbytes for array in self.arrays.values())


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
