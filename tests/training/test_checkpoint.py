"""Checkpoints: whole or not at all, three kept, whatever is damaged is passed over."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dogbreed.core.canonical_json import dumps_with_digest, loads_verified
from dogbreed.core.errors import CorruptData, DataError
from dogbreed.core.lease import Lease
from dogbreed.core.storage import LocalStore, Store
from dogbreed.training import checkpoint
from dogbreed.training.checkpoint import (
    ARRAYS,
    COMMIT,
    FORMAT,
    SPOOL,
    STATE,
    CheckpointManager,
    Snapshot,
)
from dogbreed.training.state import TrainState

FILES = (ARRAYS, STATE, SPOOL, COMMIT)


def snapshot(step: int) -> Snapshot:
    history = [{"epoch": 1.0, "val_top1": 0.1 + 0.2}]
    state = TrainState(global_step=step, epoch=1, history=history, metric_sums={"loss": [1 / 3, 1.0]})
    return Snapshot(state, {"model/0": np.full(4, step, np.float32), "best/0": np.array([np.pi])}, b"points")


def test_what_is_written_is_read_back_bit_for_bit(store: Store) -> None:
    checkpoints = CheckpointManager(store, "content", 1)
    assert checkpoints.restore_latest() is None
    checkpoints.save(snapshot(7))
    found = checkpoints.restore_latest()
    assert found is not None
    assert (found.state, found.metric_spool) == (snapshot(7).state, b"points")
    assert all(np.array_equal(found.arrays[name], array) for name, array in snapshot(7).arrays.items())
    assert found.arrays["model/0"].dtype == np.float32


def test_the_newest_three_are_kept_whoever_wrote_them(store: Store) -> None:
    for lease, step in ((1, 9), (1, 10), (2, 10), (3, 100)):
        CheckpointManager(store, "content", lease).save(snapshot(step))
    with pytest.raises(DataError):
        CheckpointManager(store, "content", 3).save(snapshot(100))  # a name of an earlier start is never used again
    folders = sorted({key.partition("/")[0] for key in store.list()})
    assert folders == ["00000010-1-1", "00000010-2-1", "00000100-3-1"]


def test_steps_and_writes_are_ordered_as_numbers(store: Store) -> None:
    checkpoints = CheckpointManager(store, "content", 1)
    for step in (*[99_999_999] * 12, 100_000_000):
        checkpoints.save(snapshot(step))
    folders = {key.partition("/")[0] for key in store.list()}
    assert folders == {"99999999-1-11", "99999999-1-12", "100000000-1-13"}
    found = checkpoints.restore_latest()
    assert found is not None
    assert found.state.global_step == 100_000_000


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 64
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_one_is_passed_over_and_said(
    name: str, damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = CheckpointManager(LocalStore(tmp_path), "content", 1)
    checkpoints.save(snapshot(3))
    checkpoints.save(snapshot(6))
    damage(tmp_path / "00000006-1-2" / name)
    found = checkpoints.restore_latest()
    assert found is not None
    assert found.state.global_step == 3
    assert ("checkpoint 00000006-1-2 is damaged" in caplog.text) or (name, damage) == (COMMIT, Path.unlink)


def test_a_damaged_one_does_not_count_among_the_three_that_are_kept(tmp_path: Path) -> None:
    CheckpointManager(LocalStore(tmp_path), "content", 1).save(snapshot(3))
    writer = CheckpointManager(LocalStore(tmp_path), "content", 2)
    for step in (6, 9):
        writer.save(snapshot(step))
    flip(tmp_path / "00000009-2-2" / "training.npz")
    assert writer.restore_latest() is not None
    assert (tmp_path / "00000009-2-2" / COMMIT).exists()  # it may have been read wrongly only once
    writer.save(snapshot(12))
    kept = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert kept == {"00000003-1-1", "00000006-2-1", "00000012-2-3"}


def test_one_of_another_training_contradicts(tmp_path: Path) -> None:
    CheckpointManager(LocalStore(tmp_path), "content", 1).save(snapshot(3))
    with pytest.raises(DataError, match="--restart"):
        CheckpointManager(LocalStore(tmp_path), "other", 2).restore_latest()


def test_one_of_another_format_contradicts_and_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 1)
        CheckpointManager(LocalStore(tmp_path), "content", 1).save(snapshot(3))
    with pytest.raises(DataError, match=r"format 1.*--restart") as raised:
        CheckpointManager(LocalStore(tmp_path), "content", 2).restore_latest()
    assert raised.value.exit_code == 65


def test_one_of_another_format_contradicts_and_is_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointManager(LocalStore(tmp_path), "content", 1)
    checkpoints.save(snapshot(3))
    commit = tmp_path / "00000003-1-1" / COMMIT
    commit.write_bytes(dumps_with_digest({**loads_verified(commit.read_bytes()), "format": FORMAT - 1}))
    with pytest.raises(DataError, match=r"version.*--restart") as error:
        checkpoints.restore_latest()
    assert not isinstance(error.value, CorruptData), "another version goes on with it"
    assert error.value.exit_code == 65
    assert {path.name for path in commit.parent.iterdir()} == set(FILES)


def test_cleared_checkpoints_leave_nothing_but_the_lease(store: Store) -> None:
    with Lease(store, "job") as lease:
        checkpoints = CheckpointManager(store, "content", lease.number)
        checkpoints.save(snapshot(3))
        checkpoints.delete_all()
        assert [key.partition("/")[0] for key in store.list()] == ["lease"]
