"""Where the workers of one training meet before TensorFlow does, which waits for others without hearing a signal.

The first worker listens at its own address; the others come and stay until all are there. Then everybody leaves, and
TensorFlow finds all of them alive.
"""

import contextlib
import logging
import socket
import time

from dogbreed.platform.errors import TryAgain
from dogbreed.platform.machine import Cluster

LOOK_EVERY = 0.5  # seconds between two attempts to reach the first worker
ANSWER_WITHIN = 5.0  # seconds for a worker that came to say that it is still there
THERE, STILL, YES, GO = b"dogbreed worker ", b"?", b"!", b">"

log = logging.getLogger(__name__)


def meet(cluster: Cluster, seconds: float) -> None:
    """Return when all workers are here; TryAgain when one does not come within so many seconds."""
    until = time.monotonic() + seconds
    late = TryAgain(f"not all of {', '.join(cluster.hosts)} came within {seconds:.0f} s; start what is missing")
    log.info("worker %d waits for all %d", cluster.index, len(cluster.hosts))
    if cluster.index == 0:
        _gather(int(cluster.hosts[0].rpartition(":")[2]), len(cluster.hosts) - 1, until, late)
    else:
        host, _, port = cluster.hosts[0].rpartition(":")
        while not _came((host, int(port)), cluster.index):
            if time.monotonic() > until:
                raise late
            time.sleep(LOOK_EVERY)


def _gather(port: int, others: int, until: float, late: TryAgain) -> None:
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
                if name.startswith(THERE):
                    here[name] = guest  # one that was started again replaces itself
            if len(here) == others:
                here = {name: guest for name, guest in here.items() if _is_there(guest)}
        for guest in here.values():
            guest.sendall(GO)
        for guest in here.values():  # they close first: this port must be free for TensorFlow
            with contextlib.suppress(OSError):
                guest.recv(1)


def _is_there(guest: socket.socket) -> bool:
    try:
        guest.sendall(STILL)
        return guest.recv(1) == YES
    except OSError:
        return False


def _came(address: tuple[str, int], index: int) -> bool:
    """Go to the first worker and wait there; False when it is not there, or goes away."""
    try:
        with socket.create_connection(address, timeout=ANSWER_WITHIN) as way:
            way.sendall(THERE + str(index).encode())
            way.settimeout(None)
            while word := way.recv(1):
                if word == GO:
                    return True
                if word != STILL:
                    return False  # TensorFlow's server of a training that is about to end
                way.sendall(YES)
    except OSError:
        pass
    return False
