"""Workers meet: all go at once, one that left is waited for again, who waits hears signals and gives up in time."""

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dogbreed.core import rendezvous
from dogbreed.core.errors import RetryableError, UsageError
from dogbreed.core.rendezvous import ClusterSpec
from tests.support.servers import free_port


def hosts(workers: int) -> tuple[str, ...]:
    return (f"127.0.0.1:{free_port()}", *["unused:1"] * (workers - 1))


def test_all_go_when_the_last_one_has_come() -> None:
    where, gone = hosts(3), list[int]()

    def worker(index: int) -> None:
        rendezvous.join(ClusterSpec(where, index), 30)
        gone.append(index)

    threads = [threading.Thread(target=worker, args=(index,)) for index in (2, 0, 1)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(1)
    assert gone == []
    threads[2].start()
    for thread in threads:
        thread.join()
    assert sorted(gone) == [0, 1, 2]
    with socket.create_server(("127.0.0.1", int(where[0].split(":")[1]))):
        pass  # the port is free


def test_one_that_came_and_left_does_not_count() -> None:
    where, done = hosts(2), threading.Event()
    first = threading.Thread(target=lambda: (rendezvous.join(ClusterSpec(where, 0), 30), done.set()))
    first.start()
    time.sleep(0.5)
    with socket.create_connection(("127.0.0.1", int(where[0].split(":")[1]))) as way:
        way.sendall(rendezvous.HELLO + b"1")
    assert not done.wait(1)
    rendezvous.join(ClusterSpec(where, 1), 30)
    first.join()
    assert done.is_set()


def test_a_worker_leaves_a_chief_that_has_vanished_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "RECONNECT_EVERY", 0.5)
    where = hosts(2)
    with socket.create_server(("127.0.0.1", int(where[0].split(":")[1]))) as silent:
        second = threading.Thread(target=rendezvous.join, args=(ClusterSpec(where, 1), 30))
        second.start()
        connections = [silent.accept()[0] for _ in range(2)]
    rendezvous.join(ClusterSpec(where, 0), 30)
    second.join()
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("index", [0, 1])
def test_who_waits_in_vain_gives_up_with_75(index: int) -> None:
    with pytest.raises(RetryableError, match="within 1 s"):
        rendezvous.join(ClusterSpec(hosts(2), index), 1)


@pytest.mark.parametrize("index", [0, 1])
def test_who_waits_is_stopped_by_sigterm(index: int) -> None:
    code = f"""
from dogbreed.core import rendezvous, signals
from dogbreed.core.errors import ShutdownRequested
from dogbreed.core.rendezvous import ClusterSpec
signals.install_handlers()
print("waiting", flush=True)
try:
    rendezvous.join(ClusterSpec({hosts(2)}, {index}), 60)
except ShutdownRequested as stopped:
    raise SystemExit(stopped.exit_code)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


INDEXED_JOB = {
    "DOGBREED_WORKERS": "3",
    "DOGBREED_WORKER_JOB": "train-abc",
    "DOGBREED_WORKER_SERVICE": "workers",
    "JOB_COMPLETION_INDEX": "1",
}
TF_CONFIG = '{"cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]}, "task": {"type": "worker", "index": 1}}'


def test_an_indexed_job_and_its_service_name_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in INDEXED_JOB.items():
        monkeypatch.setenv(name, value)
    hosts = ("train-abc-0.workers:2222", "train-abc-1.workers:2222", "train-abc-2.workers:2222")
    assert rendezvous.cluster_from_env() == ClusterSpec(hosts, 1)
    monkeypatch.setenv("TF_CONFIG", TF_CONFIG)  # counts first
    assert rendezvous.cluster_from_env() == ClusterSpec(("a:1", "b:2", "c:3"), 2)


@pytest.mark.parametrize("given", [{}, {"DOGBREED_WORKERS": "1"}, {"JOB_COMPLETION_INDEX": "4"}])
def test_a_process_is_alone_unless_the_environment_names_others(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert len(rendezvous.cluster_from_env().addresses) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DOGBREED_WORKERS", "many", "DOGBREED_WORKERS='many'"),
        ("DOGBREED_WORKER_SERVICE", "", "DOGBREED_WORKER_SERVICE is not set"),
        ("JOB_COMPLETION_INDEX", "3", "give the Job 3 completions"),
        ("TF_CONFIG", "{}", "TF_CONFIG"),
        ("TF_CONFIG", "no json", "TF_CONFIG"),
        ("TF_CONFIG", TF_CONFIG.replace("a:1", "a"), "host:port"),
        ("TF_CONFIG", TF_CONFIG.replace('"index": 1', '"index": 2'), "task"),
        ("TF_CONFIG", TF_CONFIG.replace('"type": "worker"', '"type": "ps"'), "task"),
    ],
)
def test_an_environment_that_names_no_place_is_refused(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, usual in INDEXED_JOB.items():
        monkeypatch.setenv(other, usual)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        rendezvous.cluster_from_env()
