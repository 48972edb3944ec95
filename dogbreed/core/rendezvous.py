"""The workers of a distributed training, from TF_CONFIG or Kubernetes, and a rendezvous that waits until all run.

The rendezvous comes before TensorFlow initializes its collectives: that call waits for all workers without releasing
Python's lock, so that a signal, or a thread that waits for one, would not be handled meanwhile.

Protocol: worker 0 listens at its own address; each other worker connects, sends HELLO and its index, and answers each
PING by PONG. When all are connected and have answered, worker 0 sends START, and all close their sockets, so that the
port is free for TensorFlow.
"""

import contextlib
import json
import logging
import os
import re
import socket
import time
from dataclasses import dataclass

from dogbreed.core.errors import RetryableError, UsageError

WORKER_PORT = 2222  # as in TensorFlow's own examples
RETRY_EVERY = 0.5  # seconds between two attempts to connect to worker 0
REPLY_TIMEOUT = 5.0  # seconds
RECONNECT_EVERY = 60.0  # seconds without a message: the machine of worker 0 may be gone, and its successor waits
HELLO, PING, PONG, START = b"dogbreed worker ", b"?", b"!", b">"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterSpec:
    """The workers of one training; each is a process, usually on a machine of its own."""

    addresses: tuple[str, ...]  # host:port of each worker; the first one is the chief
    process_index: int  # of this worker


def cluster_from_env() -> ClusterSpec:
    """Return the workers that environment variables name, a single one by default; UsageError for an invalid value.

    TF_CONFIG has precedence. Otherwise DOGBREED_WORKERS is their number, JOB_COMPLETION_INDEX the index of this one,
    and worker i has the address <DOGBREED_WORKER_JOB>-<i>.<DOGBREED_WORKER_SERVICE>: an Indexed Job and a headless
    Service of Kubernetes.
    """
    if text := os.environ.get("TF_CONFIG"):
        return _from_tf_config(text)
    if os.environ.get("DOGBREED_WORKERS", "1") == "1":
        return ClusterSpec(("localhost",), 0)
    count, index = _require_number("DOGBREED_WORKERS"), _require_number("JOB_COMPLETION_INDEX")
    job, service = _require_env("DOGBREED_WORKER_JOB"), _require_env("DOGBREED_WORKER_SERVICE")
    if index >= count:
        raise UsageError(f"JOB_COMPLETION_INDEX is {index}, DOGBREED_WORKERS {count}; give the Job {count} completions")
    return ClusterSpec(tuple(f"{job}-{number}.{service}:{WORKER_PORT}" for number in range(count)), index)


def _from_tf_config(text: str) -> ClusterSpec:
    try:
        config = json.loads(text)
        jobs = {name: list(config["cluster"].get(name, [])) for name in ("chief", "worker")}
        hosts, task = (*jobs["chief"], *jobs["worker"]), config["task"]
        index = int(task["index"]) + (len(jobs["chief"]) if task["type"] == "worker" else 0)
        if task["type"] not in jobs or not 0 <= int(task["index"]) < len(jobs[task["type"]]):
            raise ValueError("its task is not one of its workers")
        if not all(re.fullmatch(r"\S+:\d+", host) for host in hosts):
            raise ValueError("an address is host:port")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        example = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
        raise UsageError(f"TF_CONFIG={text} is invalid ({error}); an example is {example}") from error
    return ClusterSpec(tuple(map(str, hosts)), index)


def _require_number(name: str) -> int:
    text = _require_env(name)
    if not text.isdigit():
        raise UsageError(f"{name}={text!r} is not a number; correct it, or set TF_CONFIG")
    return int(text)


def _require_env(name: str) -> str:
    if not os.environ.get(name):
        raise UsageError(f"DOGBREED_WORKERS names several workers, but {name} is not set; set it, or TF_CONFIG")
    return os.environ[name]


def join(cluster: ClusterSpec, seconds: float) -> None:
    """Return when all workers have connected; RetryableError when one has not within so many seconds."""
    deadline = time.monotonic() + seconds
    late = RetryableError(
        f"not all of {', '.join(cluster.addresses)} connected within {seconds:.0f} s; start the missing workers"
    )
    log.info("worker %d waits for all %d workers", cluster.process_index, len(cluster.addresses))
    host, _, port = cluster.addresses[0].rpartition(":")
    if cluster.process_index == 0:
        _serve(int(port), len(cluster.addresses) - 1, deadline, late)
        return
    while not _connect((host, int(port)), cluster.process_index):
        if time.monotonic() > deadline:
            raise late
        time.sleep(RETRY_EVERY)


def _serve(port: int, others: int, deadline: float, late: RetryableError) -> None:
    """Accept connections until so many other workers are connected at the same time, then start all."""
    connected: dict[bytes, socket.socket] = {}
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("", port), family=family, dualstack_ipv6=dual))
        server.settimeout(RETRY_EVERY)
        while len(connected) < others:
            if time.monotonic() > deadline:
                raise late
            with contextlib.suppress(OSError):
                worker = opened.enter_context(server.accept()[0])
                worker.settimeout(REPLY_TIMEOUT)
                name = worker.recv(64)
                if name.startswith(HELLO):
                    connected[name] = worker  # a worker that was restarted replaces its former connection
            if len(connected) == others:  # one that connected early may have been killed since
                connected = {name: worker for name, worker in connected.items() if _is_alive(worker)}
        for worker in connected.values():
            worker.sendall(START)
        for worker in connected.values():  # wait until they close first: otherwise the port stays in TIME_WAIT here
            with contextlib.suppress(OSError):
                worker.recv(1)


def _is_alive(worker: socket.socket) -> bool:
    try:
        worker.sendall(PING)
        return worker.recv(1) == PONG
    except OSError:
        return False


def _connect(address: tuple[str, int], index: int) -> bool:
    """Connect to worker 0 and wait for START; False where worker 0 is not there yet, goes away or is silent."""
    try:
        with socket.create_connection(address, timeout=REPLY_TIMEOUT) as connection:
            connection.sendall(HELLO + str(index).encode())
            connection.settimeout(RECONNECT_EVERY)
            while message := connection.recv(1):
                if message == START:
                    return True
                if message != PING:
                    return False  # TensorFlow's server of a training that is about to end
                connection.sendall(PONG)
    except OSError:
        pass
    return False
