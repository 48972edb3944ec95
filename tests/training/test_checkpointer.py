"""When a checkpoint is due, and what the thread that writes it does with errors."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dogbreed.core.errors import EnvironmentUnsupported, UsageError
from dogbreed.core.lease import Lease
from dogbreed.core.scratch import SCRATCH_LIMIT, SCRATCH_RESERVE
from dogbreed.core.storage import LocalStore, Store
from dogbreed.training.checkpoint import CheckpointManager, Snapshot
from dogbreed.training.checkpointer import AsyncCheckpointer, CheckpointInterval
from dogbreed.training.state import TrainState


def snapshot(step: int) -> Snapshot:
    return Snapshot(TrainState(global_step=step), {"model/0": np.zeros(4, np.float32)}, b"points")


def checkpointer_in(store: Store, interval: CheckpointInterval) -> AsyncCheckpointer:
    return AsyncCheckpointer(CheckpointManager(store, "content", 1), interval, Lease(store, "job"))


@pytest.mark.parametrize(
    ("text", "steps", "seconds"), [("200", 200, 0), ("90s", 0, 90), ("5m", 0, 300), ("1h", 0, 3600)]
)
def test_an_interval_is_steps_or_a_time(text: str, steps: int, seconds: float) -> None:
    assert CheckpointInterval.from_text(text) == CheckpointInterval(steps, seconds)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5m", "5 m", "1d", "m"])
def test_any_other_interval_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="90s"):
        CheckpointInterval.from_text(text)


def test_a_store_that_fails_costs_a_checkpoint_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "place").write_text("")  # a file where a folder should be
    store = LocalStore(tmp_path / "place" / "job")
    checkpointer = checkpointer_in(store, CheckpointInterval(steps=5))
    assert not checkpointer.should_save(4)
    assert checkpointer.should_save(5)
    checkpointer.save(snapshot(5))
    checkpointer.wait_until_finished()
    assert "no checkpoint of step 5, training continues" in caplog.text
    assert "could not be written" in checkpointer.status()
    assert not checkpointer.should_save(9)


def test_a_checkpoint_over_the_scratch_limit_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    checkpointer = checkpointer_in(LocalStore(tmp_path / "job"), CheckpointInterval(steps=5))
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE + 15))
    with pytest.raises(EnvironmentUnsupported, match=SCRATCH_LIMIT):
        checkpointer.save(snapshot(5))
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE + 16))
    checkpointer.save(snapshot(5))


def test_a_checkpoint_is_due_so_many_steps_after_the_last_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    checkpointer = checkpointer_in(store, CheckpointInterval(steps=5))
    checkpointer.save(snapshot(7))
    checkpointer.wait_until_finished()
    assert [step for step in range(8, 15) if checkpointer.should_save(step)] == [12, 13, 14]


def test_after_a_resume_the_interval_counts_from_the_restored_step(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    checkpointer = checkpointer_in(store, CheckpointInterval(steps=5))
    checkpointer.start(7)
    assert [step for step in range(8, 14) if checkpointer.should_save(step)] == [12, 13]


def test_an_unexpected_error_of_the_writer_is_logged_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: CheckpointManager, snapshot: Snapshot) -> None:
        raise MemoryError("cannot allocate")

    monkeypatch.setattr(CheckpointManager, "save", fail)
    store = LocalStore(tmp_path)
    checkpointer = checkpointer_in(store, CheckpointInterval(steps=5))
    checkpointer.save(snapshot(5))
    checkpointer.wait_until_finished()
    assert "MemoryError" in caplog.text  # with its traceback
    assert "could not be written" in checkpointer.status()


class SlowStore(LocalStore):
    """A folder that takes a file only once it is let."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.let = threading.Event()

    def put_file(self, key: str, path: Path) -> None:
        assert self.let.wait(30)
        super().put_file(key, path)


def test_a_checkpoint_is_due_after_so_many_seconds_unless_one_is_being_written(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    checkpointer = checkpointer_in(store, CheckpointInterval(seconds=0.2))
    assert not checkpointer.should_save(1)
    time.sleep(0.25)
    assert checkpointer.should_save(1)
    checkpointer.save(snapshot(1))
    time.sleep(0.25)
    assert not checkpointer.should_save(2)  # time has passed, but the thread is busy
    store.let.set()
    checkpointer.wait_until_finished()
    assert checkpointer.should_save(2)


def test_a_checkpoint_after_one_that_failed_clears_the_error(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("")  # a file where a folder should be
    store = LocalStore(place / "job")
    checkpointer = checkpointer_in(store, CheckpointInterval(steps=1))
    checkpointer.save(snapshot(1))
    checkpointer.wait_until_finished()
    assert "could not be written" in checkpointer.status()
    place.unlink()
    checkpointer.save(snapshot(2))
    checkpointer.wait_until_finished()
    assert "could not be written" not in checkpointer.status()
    found = checkpointer.manager.restore_latest()
    assert found is not None
    assert found.state.global_step == 2
