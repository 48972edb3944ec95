"""A lease: one live holder, and a dead one loses it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dogbreed.core.errors import AlreadyExists, LeaseLost, RetryableError
from dogbreed.core.lease import Lease, LeaseWatch, is_abandoned
from dogbreed.core.storage import LocalStore, Store

HOLDER = """
import sys, time
from dogbreed.core.lease import Lease
from dogbreed.core.storage import open_store
with Lease(open_store(sys.argv[1]), "job x"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def hold_and_fail(store: Store) -> None:
    with Lease(store, "job x") as lease:
        raise ValueError(lease.number)


def test_numbers_grow_until_the_work_is_done_and_then_nothing_is_left(store: Store) -> None:
    for number in (1, 3, 5):  # giving it back takes a number too
        with pytest.raises(ValueError, match=f"^{number}$"):
            hold_and_fail(store)
    assert len(list(store.list("lease/"))) == 2
    with Lease(store, "job x") as lease:
        assert lease.number == 7
    assert list(store.list()) == []


def test_a_live_holder_keeps_it_and_a_killed_one_loses_it_at_once(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    with pytest.raises(RetryableError, match=f"job x is held by {socket.gethostname()}/{holder.pid}/"):
        Lease(LocalStore(tmp_path), "job x").__enter__()
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie until `communicate`
    with Lease(LocalStore(tmp_path), "job x") as lease:
        assert lease.number == 2
    holder.communicate()


def test_a_process_that_has_replaced_its_program_follows_itself(tmp_path: Path) -> None:
    code = f"""
import os, sys
from dogbreed.core.lease import Lease
from dogbreed.core.storage import open_store
with Lease(open_store({str(tmp_path)!r}), "job x") as lease:
    print(lease.number, flush=True)
    if lease.number == 1:
        os.execv(sys.executable, sys.orig_argv)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "2"], done.stderr


def check_until_it_raises(lease: Lease) -> None:
    while True:
        lease.check()


@pytest.fixture
def elsewhere(store: Store) -> Store:
    """A store with the lease of another host."""
    store.put("lease/00000001.json", json.dumps({"holder": "elsewhere/1/1.00"}).encode())
    return store


def test_a_silent_holder_on_another_host_is_given_up(elsewhere: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Lease(elsewhere, "job x", dead_after=0.3, poll_every=0.05) as lease:
        assert lease.number == 2
    assert "held by elsewhere/1/1.00" in caplog.text


@pytest.mark.parametrize(("released", "number"), [(True, 3), (False, None)])
def test_a_holder_on_another_host_that_renews_is_alive_and_one_that_ends_is_followed(
    elsewhere: Store, monkeypatch: pytest.MonkeyPatch, released: bool, number: int | None
) -> None:
    def renew(seconds: float) -> None:
        content = {"holder": "elsewhere/1/1.00", "released": released}
        elsewhere.put("lease/00000002.json", json.dumps(content).encode())

    monkeypatch.setattr("time.sleep", renew)
    if number is None:
        with pytest.raises(RetryableError, match="held by elsewhere"):
            Lease(elsewhere, "job x", dead_after=0.3).__enter__()
        return
    with Lease(elsewhere, "job x", dead_after=0.3) as lease:
        monkeypatch.undo()
        assert lease.number == number


def test_numbers_that_begin_again_are_not_taken_for_silence(elsewhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def release_and_acquire(seconds: float) -> None:
        elsewhere.delete("lease/00000001.json")
        elsewhere.put("lease/00000001.json", json.dumps({"holder": "third/1/1.00"}).encode())

    monkeypatch.setattr("time.sleep", release_and_acquire)
    with pytest.raises(RetryableError, match="held by"):
        Lease(elsewhere, "job x", dead_after=0.3).__enter__()


def write_lease(store: Store, number: int, **content: object) -> None:
    store.delete(f"lease/{number:08d}.json")
    store.put(f"lease/{number:08d}.json", json.dumps(content).encode())


def test_a_watch_frees_a_lease_after_silence_and_not_while_it_is_renewed(tmp_path: Path) -> None:
    store, watch = LocalStore(tmp_path), LeaseWatch(0.2)
    assert not watch.is_free(store), "a process may be about to acquire it"
    for number, holder in ((1, "elsewhere/1"), (2, "elsewhere/1"), (2, "third/1")):
        write_lease(store, number, holder=holder)
        time.sleep(0.25)
        assert not watch.is_free(store), "renewed, or another process's"
    time.sleep(0.25)
    assert watch.is_free(store)
    assert is_abandoned(store)
    write_lease(store, 3, holder="elsewhere/1", released=True)
    assert LeaseWatch(100.0).is_free(store)
    assert not is_abandoned(store)


def test_a_watch_frees_the_lease_of_a_process_that_is_gone_from_this_host_at_once(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    store, watch = LocalStore(tmp_path), LeaseWatch(100.0)
    assert not watch.is_free(store)
    holder.kill()
    holder.communicate()
    assert watch.is_free(store)


def test_a_lease_is_renewed_and_the_loss_of_one_is_an_error(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with Lease(store, "job x", renew_every=0.02) as lease:
        while max(store.list("lease/")) < "lease/00000004.json":
            lease.check()
        taken = False
        while not taken:  # between two renewals
            try:
                newest = int(max(store.list("lease/"))[6:14])
                store.put(f"lease/{newest + 1:08d}.json", json.dumps({"holder": "elsewhere/1/1.00"}).encode())
                taken = True
            except AlreadyExists:
                continue
        with pytest.raises(LeaseLost, match="job x was taken over by elsewhere/1"):
            check_until_it_raises(lease)
    assert "elsewhere" in store.read(max(store.list("lease/"))).decode()  # left alone: it is another's now


class SlowStore(LocalStore):
    """A folder in which each write takes a while."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.writing = threading.Event()

    def put(self, key: str, data: bytes) -> None:
        self.writing.set()
        time.sleep(0.2)
        super().put(key, data)


def test_a_renewal_that_is_being_written_at_the_end_leaves_no_object_and_is_no_loss(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    with Lease(store, "job x", renew_every=0.05) as lease:
        store.writing.clear()
        assert store.writing.wait(5)
    for thread in threading.enumerate():
        if thread.name == "lease":
            thread.join()
    assert list(store.list()) == []
    lease.check()
