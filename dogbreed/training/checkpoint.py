"""Checkpoints of one job key in a store: written whole or not at all, verified when read, three kept.

`<step>-<lease>-<number>/` holds training.npz, state.json, spool and, written last, COMMIT.json with the SHA-256 of
each. No name is used twice: each start has a lease number of its own (dogbreed.platform.lease) and counts its writes.
"""

import io
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dogbreed.data.sealed import canonical, sealed, sha256, unsealed
from dogbreed.platform.errors import DamagedData, DataContradiction, MissingObject
from dogbreed.platform.storage import Store
from dogbreed.training.course import Course

FORMAT = 1
KEPT = 3
NAME = re.compile(r"\d{8,}-\d+-\d+")  # of a checkpoint; leases lie beside them
ARRAYS, STATE, SPOOL, COMMIT = "training.npz", "state.json", "spool", "COMMIT.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A training at the end of one of its steps."""

    course: Course
    arrays: dict[str, np.ndarray]  # weights, generators, optimizer and the best weights so far
    spool: bytes  # the observer's
    name: str = ""  # of its folder, once it was written


class Checkpoints:
    """The checkpoints of one training; `content` is the hash of what it trains."""

    def __init__(self, store: Store, content: str, lease: int) -> None:
        self.store, self._content, self._lease = store, content, lease
        self._written = 0

    def newest(self) -> Snapshot | None:
        """Return the newest one that is whole; damaged ones are said and removed, since a new one may follow them."""
        for folder in self._committed():
            try:
                return self.read(folder)
            except (DamagedData, MissingObject) as error:
                log.warning("checkpoint %s is damaged (%s); going back to the one before", folder, error)
                self._remove(folder)
        return None

    def write(self, snapshot: Snapshot) -> None:
        """Write one, then remove those that are older than the newest three."""
        self._written += 1
        folder = folder_of([snapshot.course.step, self._lease, self._written])
        files = {STATE: canonical(snapshot.course.as_json()), SPOOL: snapshot.spool}
        with tempfile.NamedTemporaryFile(prefix="dogbreed-", suffix=".npz") as temporary:
            np.savez(temporary, **snapshot.arrays)  # type: ignore[arg-type]  # numpy's stub takes no mapping
            temporary.flush()
            arrays = Path(temporary.name)
            self.store.put_file(f"{folder}/{ARRAYS}", arrays)
            files[ARRAYS] = arrays.read_bytes()
        for name in (STATE, SPOOL):
            self.store.put(f"{folder}/{name}", files[name])
        found = {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in files.items()}
        self.store.put(f"{folder}/{COMMIT}", sealed({"format": FORMAT, "content": self._content, "files": found}))
        self._prune(folder)

    def clear(self) -> None:
        """Remove all."""
        for folder in self._folders():
            self._remove(folder)

    def read(self, folder: str) -> Snapshot:
        """Return one by its name; DamagedData or MissingObject when it is not whole."""
        commit = self._commit(folder)
        if commit["format"] != FORMAT or commit["content"] != self._content:
            raise DataContradiction(
                f"{self.store.at(folder)} is a checkpoint of another recipe, dataset, seed, weights or version; "
                "choose another --name, or begin anew with --fresh"
            )
        files = {name: self.store.read(f"{folder}/{name}") for name in (ARRAYS, STATE, SPOOL)}
        for name, data in files.items():
            if sha256(data) != commit["files"][name]["sha256"]:
                raise DamagedData(f"{name} is not what {COMMIT} says")
        with np.load(io.BytesIO(files[ARRAYS]), allow_pickle=False) as arrays:
            return Snapshot(Course.of_json(files[STATE]), dict(arrays), files[SPOOL], folder)

    def _commit(self, folder: str) -> dict[str, Any]:
        try:
            return unsealed(self.store.read(f"{folder}/{COMMIT}"))
        except ValueError as error:
            raise DamagedData(f"{COMMIT}: {error}") from error

    def _folders(self) -> list[str]:
        """Return the names of all checkpoints, whole or not, the newest first."""
        names = {key.partition("/")[0] for key in self.store.list()}
        return sorted(filter(NAME.fullmatch, names), key=_order, reverse=True)

    def _committed(self) -> Iterator[str]:
        found = set(self.store.list())
        return (folder for folder in self._folders() if f"{folder}/{COMMIT}" in found)

    def _prune(self, written: str) -> None:
        kept = [folder for folder in self._committed() if _order(folder) <= _order(written)][:KEPT]
        for folder in self._folders():
            if folder not in kept:
                self._remove(folder)

    def _remove(self, folder: str) -> None:
        for name in (COMMIT, ARRAYS, STATE, SPOOL):  # COMMIT first: what is half removed is no checkpoint
            self.store.delete(f"{folder}/{name}")


def numbers_of(saved: Snapshot | None) -> list[int]:
    """Return step, lease and number of a checkpoint that was read, zeros for none."""
    return _order(saved.name) if saved else [0, 0, 0]


def folder_of(numbers: Sequence[int]) -> str:
    """Return the name that `numbers` belong to."""
    step, lease, number = numbers
    return f"{step:08d}-{lease}-{number}"


def _order(folder: str) -> list[int]:
    return [int(part) for part in folder.split("-")]
