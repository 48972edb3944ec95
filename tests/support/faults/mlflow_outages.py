"""MLflow leaves a training: before it begins, in the middle or at its end, for a second, a minute or for good."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from tests.support.attempt import KILLED, Attempt, Outcome
from tests.support.faults.http_faults import hang, refuse, reset
from tests.support.faults.proxy import Fault, Proxy, Rule, proxy
from tests.support.faults.rows import Row
from tests.support.faults.training_kills import TRY_AGAIN, recover
from tests.support.faults.training_site import TrainingSite, Ward
from tests.support.servers import mlflow_server
from tests.support.watched_job import STEPS, Order

PATIENT = 5.0  # seconds that a training may wait for MLflow at once
MIDDLE = 20  # step

FAULTS: dict[str, Fault] = {"reset": reset, "503": refuse(503, "Unavailable"), "no answer": hang}


@dataclass(frozen=True)
class Outage:
    """When MLflow leaves, how, and for how many seconds (None: for good)."""

    when: str  # start, middle or end
    how: str  # a name in FAULTS
    seconds: float | None


# each moment with each length, each length with each fault
OUTAGES = tuple(
    Outage(when, tuple(FAULTS)[(i + j) % 3], seconds)
    for i, when in enumerate(("start", "middle", "end"))
    for j, seconds in enumerate((1.0, 60.0, None))
)


class Service:
    """A real MLflow server behind a proxy that can keep it away."""

    def __init__(self, site: TrainingSite, home: Path, address: str, door: Proxy) -> None:
        self.site, self._home, self._address, self._door = site, home, address, door

    def ward(self) -> Ward:
        """Return an empty ward whose training logs to this server."""
        return self.site.ward(self._home / "mlflow.db")

    def order(self, ward: Ward) -> Order:
        """Return an order to train there, through the proxy."""
        order = ward.order(watched=STEPS, environment={"MLFLOW_HTTP_REQUEST_TIMEOUT": "5"})
        return replace(order, environment={**order.environment, "MLFLOW_TRACKING_URI": self._address})

    def leave(self, how: str) -> None:
        """Let every request meet a fault from now on."""
        self._door.rules = [Rule(FAULTS[how])]

    def come_back(self) -> None:
        """Let requests pass again; those that hang end."""
        self._door.rules = []
        self._door.closing.set()
        self._door.closing = threading.Event()


@contextmanager
def service(site: TrainingSite) -> Iterator[Service]:
    """Serve MLflow behind a proxy."""
    home = site.work / "mlflow-server"
    home.mkdir()
    with mlflow_server(home) as upstream, proxy(upstream, []) as (address, door):
        yield Service(site, home, address, door)


def outage(service: Service, fault: Outage) -> Row:
    """Train through an outage; one that does not end leaves 75 and a checkpoint that the next start delivers."""
    lasts = "for good" if fault.seconds is None else f"for {fault.seconds:.0f} s"
    row = Row(f"train: MLflow away from the {fault.when} on, {lasts} ({fault.how})")
    ward, calls = service.ward(), len(service.site.clean.outcome.calls)
    order = service.order(ward)
    if fault.when == "start":
        service.leave(fault.how)
    running = Attempt(order)
    if fault.when != "start":
        running.wait_for(MIDDLE if fault.when == "middle" else calls)
        service.leave(fault.how)
    timer = threading.Timer(fault.seconds or 1e6, service.come_back)
    timer.daemon = True
    timer.start()
    outcome = running.wait()
    timer.cancel()
    service.come_back()
    problems = row.ended(outcome, TRY_AGAIN if fault.seconds is None else 0) + _waits(row, outcome)
    if outcome.exit_code == TRY_AGAIN:
        again = service.order(ward)
        delivered = Attempt(again).wait()
        problems += row.ended(delivered, 0) + [f"{len(delivered.calls)} steps were taken again"] * bool(delivered.calls)
        order = again
    row.judge(problems or ward.problems(order.stdout), str(fault))
    return row


def lost_disk(service: Service) -> Row:
    """Kill a training while MLflow is away, and go on elsewhere from the checkpoints alone."""
    row = Row("train: SIGKILL while MLflow is away, the disk is lost")
    ward = service.ward()
    running = Attempt(service.order(ward)).wait_for(MIDDLE - 6)
    service.leave("reset")
    running.wait_for(MIDDLE + 6)
    outcome = running.kill_after(0)
    service.come_back()
    problems = row.ended(outcome, KILLED)
    row.judge(problems + recover(row, ward, again=service.order(ward)), "lost disk")
    return row


def _waits(row: Row, outcome: Outcome) -> list[str]:
    """Note how long the training waited for its MLflow run at once, and complain of long."""
    longest = max(after - before for before, after in pairwise((0.0, *outcome.waited)))
    row.seen[f"waited at most {longest:.1f} s"] += 1
    return [f"a step waited {longest:.1f} s for MLflow"] if longest > PATIENT else []
