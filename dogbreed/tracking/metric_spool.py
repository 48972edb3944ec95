"""Metric points of a training: kept in its checkpoints, and sent to MLflow once more where it lacks them."""

import json
import threading
import time
from collections.abc import Mapping

import mlflow
from mlflow.entities import Metric

POINTS_PER_REQUEST = 1000  # MLflow refuses more


class MetricSpool:
    """Metric points by name and step; the first value of each is kept."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, int], Metric] = {}
        self._sent: set[tuple[str, int]] | None = None  # the points that the server has, None while unknown
        self._lock = threading.Lock()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step."""
        now = int(time.time() * 1000)
        with self._lock:
            for key, value in values.items():
                self._points.setdefault((key, step), Metric(key, float(value), now, step))

    def state(self) -> bytes:
        """Return a line of JSON for each point: metric, step, value, milliseconds since 1970."""
        with self._lock:
            lines = [json.dumps([p.key, p.step, p.value, p.timestamp]) for p in self._points.values()]
        return "\n".join(lines).encode()

    def restore(self, state: bytes) -> None:
        """Replace all points by those of an earlier `state`."""
        found = [json.loads(line) for line in state.decode().splitlines()]
        with self._lock:
            self._points = {(key, step): Metric(key, value, at, step) for key, step, value, at in found}

    def send(self, client: mlflow.MlflowClient, run_id: str) -> None:
        """Send the points that the server does not have; after a failure the next call asks it again which it has."""
        with self._lock:
            points = dict(self._points)
        sent, self._sent = self._sent, None
        if sent is None:
            names = client.get_run(run_id).data.metrics
            sent = {(name, point.step) for name in names for point in client.get_metric_history(run_id, name)}
        unsent = [point for name, point in points.items() if name not in sent]
        for start in range(0, len(unsent), POINTS_PER_REQUEST):
            client.log_batch(run_id, metrics=unsent[start : start + POINTS_PER_REQUEST])
        self._sent = sent | points.keys()
