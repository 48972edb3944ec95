"""An observer that keeps what a training tells it."""

import json
from collections.abc import Mapping


class Listener:
    """Keeps steps and values; its state is both."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[Mapping[str, float]] = []

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Keep them."""
        self.steps.append(step)
        self.values.append(values)

    def state(self) -> bytes:
        """Return all."""
        return json.dumps([self.steps, self.values]).encode()

    def restore(self, state: bytes) -> None:
        """Take all back."""
        self.steps, self.values = json.loads(state)
