"""How far a training has come: all that a checkpoint holds beside weights and metric points."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MONITOR = "val_top1"


@dataclass
class Course:
    """One training from its first step on, whatever processes it took."""

    phase: int = 0  # number of the present phase
    epoch: int = 0  # whole epochs of it
    batch: int = 0  # batches of the present epoch; all of them while it is being validated
    step: int = 0  # batches of all phases
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch, of all phases
    starts: list[int] = field(default_factory=lambda: [0])  # place in `history` where each phase begins
    partial: list[float] = field(default_factory=list)  # the metrics' variables in the present epoch
    seconds: float = 0.0  # that the present epoch took so far
    waited: float = 0.0  # of them, for photos
    cost: dict[str, float] = field(default_factory=dict)  # of the processes before this one

    @property
    def best(self) -> float:
        """The highest validation accuracy so far."""
        return max((epoch[MONITOR] for epoch in self.history), default=float("-inf"))

    @property
    def stale(self) -> int:
        """Epochs of the present phase since its best one; 0 before the first."""
        found = [epoch[MONITOR] for epoch in self.history[self.starts[-1] :]]
        return len(found) - 1 - found.index(max(found)) if found else 0

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """Count an epoch and begin the next one."""
        self.history.append({"epoch": len(self.history) + 1, **values})
        self.epoch, self.batch, self.partial = self.epoch + 1, 0, []
        self.seconds = self.waited = 0.0

    def next_phase(self) -> None:
        """Begin the next phase."""
        self.phase, self.epoch, self.batch, self.partial = self.phase + 1, 0, 0, []
        self.starts.append(len(self.history))

    def copy(self) -> "Course":
        """Return one that later steps do not change."""
        return dataclasses.replace(self, history=[*self.history], starts=[*self.starts], cost={**self.cost})

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it: floats survive bit for bit."""
        return dataclasses.asdict(self)

    @classmethod
    def of_json(cls, text: bytes) -> "Course":
        """Return what `as_json` gave."""
        return cls(**json.loads(text))
