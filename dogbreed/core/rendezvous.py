"""Where the workers of one training meet before TensorFlow does, which waits for others without hearing a signal.

The first worker listens at its own address; the others come and stay until all are there. Then everybody leaves, and
TensorFlow finds all of them alive.
"""

import contextlib
import logging
import socket
import time

from dogbreed.core.errors import RetryableError
from dogbreed.core.resources import ClusterSpec

LOOK_EVERY = 0.5  # seconds between two attempts to reach the first worker
ANSWER_WITHIN = 5.0  # seconds for a worker that came to say that it is still there
HELLO, PING, PONG, START = b"dogbreed worker ", b"?", b"!", b">"

log = logging.getLogger(__name__)


def join(cluster: ClusterSpec, seconds: float) -> None:
    """Return when all workers are here; RetryableError when one does not come within so many seconds."""
    until = time.monotonic() + seconds
    late = RetryableError(
        f"not all of {', '.join(cluster.addresses)} came within {seconds:.0f} s; start what is missing"
    )
    log.info("worker %d waits for all %d", cluster.process_index, len(cluster.addresses))
    if cluster.process_index == 0:
        _serve(int(cluster.addresses[0].rpartition(":")[2]), len(cluster.addresses) - 1, until, late)
    else:
        host, _, port = cluster.addresses[0].rpartition(":")
        while not _connect((host, int(port)), cluster.process_index):
            if time.monotonic() > until:
                raise late
            time.sleep(LOOK_EVERY)


def _serve(port: int, others: int, until: float, late: RetryableError) -> None:
    """Let so many others come and, when all are there at the same time, go."""
    here: dict[bytes, socket.socket] = {}
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("", port), family=family, dualstack_ipv6=dual))
        server.settimeout(LOOK_EVERY)
        while len(here) < others:
            if time.monotonic() > until:
                raise late
            with contextlib.suppress(OSError):
                guest = opened.enter_context(server.accept()[0])
                guest.settimeout(ANSWER_WITHIN)
                name = guest.recv(64)
                if name.startswith(HELLO):
                    here[name] = guest  # one that was started again replaces itself
            if len(here) == others:
                here = {name: guest for name, guest in here.items() if _is_there(guest)}
        for guest in here.values():
            guest.sendall(START)
        for guest in here.values():  # they close first: this port must be free for TensorFlow
            with contextlib.suppress(OSError):
                guest.recv(1)


def _is_there(guest: socket.socket) -> bool:
    try:
        guest.sendall(PING)
        return guest.recv(1) == PONG
    except OSError:
        return False


def _connect(address: tuple[str, int], index: int) -> bool:
    """Go to the first worker and wait there; False when it is not there, or goes away."""
    try:
        with socket.create_connection(address, timeout=ANSWER_WITHIN) as way:
            way.sendall(HELLO + str(index).encode())
            way.settimeout(None)
            while word := way.recv(1):
                if word == START:
                    return True
                if word != PING:
                    return False  # TensorFlow's server of a training that is about to end
                way.sendall(PONG)
    except OSError:
        pass
    return False
