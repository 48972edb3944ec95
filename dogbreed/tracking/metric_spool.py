"""The metric points of one training, all since its first step; a checkpoint holds them."""

import json
import threading
import time
from collections.abc import Mapping

import mlflow
from mlflow.entities import Metric

POINTS_A_REQUEST = 1000  # MLflow refuses more


class MetricSpool:
    """Points by metric and step; the first value of each counts."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, int], Metric] = {}
        self._there: set[tuple[str, int]] | None = None  # what the server has, None while that is not known
        self._lock = threading.Lock()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of one step."""
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
        """Take back what `state` gave, in place of what was added meanwhile."""
        found = [json.loads(line) for line in state.decode().splitlines()]
        with self._lock:
            self._points = {(key, step): Metric(key, value, at, step) for key, step, value, at in found}

    def send(self, client: mlflow.MlflowClient, run_id: str) -> None:
        """Send what the server has not; when that fails, the next call asks the server anew what it has."""
        with self._lock:
            points = dict(self._points)
        there, self._there = self._there, None
        if there is None:
            names = client.get_run(run_id).data.metrics
            there = {(name, point.step) for name in names for point in client.get_metric_history(run_id, name)}
        unsent = [point for name, point in points.items() if name not in there]
        for start in range(0, len(unsent), POINTS_A_REQUEST):
            client.log_batch(run_id, metrics=unsent[start : start + POINTS_A_REQUEST])
        self._there = there | points.keys()
