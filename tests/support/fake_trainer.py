"""A fake of trainer.train, for tests of what is around a training."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dogbreed.core.errors import DataError
from dogbreed.training.trainer import TrainResult
from tests.support.registry import tiny


class Trainer:
    """A fake of trainer.train: records the seeds and returns an untrained model."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.failing: set[int] = set()
        self.meanwhile: Callable[[], object] = lambda: None

    def train(self, recipe: Any, manifest: Any, pipeline: Any, seed: int, **others: Any) -> TrainResult:
        self.seeds.append(seed)
        hashes = f"weights {len(self.seeds)}", f"optimizer {len(self.seeds)}"
        self.meanwhile()
        if seed in self.failing:
            raise DataError(f"seed {seed} diverged")
        epoch = {"epoch": 1.0, "loss": 1.0, "val_loss": 1.0, "top1": 0.5, "val_top1": 0.5}
        usage = {"train_seconds": 1.0, "peak_rss_mb": 100.0}
        return TrainResult(tiny(), (epoch,), usage, 0, *hashes)

    def predict(self, *_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return four labels, probabilities and images; as many are correct as the last seed's number."""
        probabilities = np.eye(4, dtype=np.float32)[np.roll(np.arange(4), 1)]
        right = self.seeds[-1]
        probabilities[:right] = np.eye(4, dtype=np.float32)[:right]
        return np.arange(4), probabilities, np.zeros((4, 32, 32, 3), np.uint8)
