"""One training by several processes on 127.0.0.1, each of which counts its steps and may be hurt."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np

from tests.support.attempt import Attempt, Outcome
from tests.support.faults.training_site import Series, read_series
from tests.support.servers import free_port
from tests.support.watched_job import STEPS, Kill, Order

# everything on that depends on a photo's place in its batch, or on the whole batch; dropout draws for each worker
SETTINGS = (
    "size=32", "epochs=4", "learning_rate=0.001", "warmup_epochs=3", "dropout=0", "ema_decay=0.9", "global_clipnorm=1",
    "class_weights=true", "augment.cutmix_prob=0.3", "augment.mixup_prob=0.2", "augment.erase_prob=0.3", "patience=9",
    "batch_norm=synchronized",
)  # fmt: skip
BATCH = 12  # photos; three workers take four each
TOTAL = 8  # steps: four epochs of two


def start_program(order: Order) -> "subprocess.Popen[bytes]":
    """Start a worker as a program of its own, which may start itself again; its output is appended."""
    with order.stdout.open("ab") as stdout, order.stderr.open("ab") as stderr:
        command = [sys.executable, "-m", order.module, *order.arguments]
        return subprocess.Popen(command, env={**os.environ, **order.environment}, stdout=stdout, stderr=stderr)


class Team:
    """A training and those who do it: the same command, each with its place in TF_CONFIG."""

    def __init__(self, data: Path, folder: Path, *options: str) -> None:
        self.folder, self.database = folder, folder / "mlflow.db"
        folder.mkdir(parents=True, exist_ok=True)
        mlflow.MlflowClient(f"sqlite:///{self.database}").search_experiments()  # makes the tables
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        self._arguments = (
            "--data", str(data), "--recipe", "simple-64", "--batch-size", str(BATCH),
            "--checkpoints", str(folder / "checkpoints"), "--checkpoint-every", "3", *settings, *options,
        )  # fmt: skip
        self._starts = 0

    def start(self, workers: int, kills: Mapping[int, Kill] | None = None) -> list[Attempt]:
        """Start all workers; some may have to kill themselves."""
        return [Attempt(order) for order in self.orders(workers, kills)]

    def orders(self, workers: int, kills: Mapping[int, Kill] | None = None) -> list[Order]:
        """Return what each worker of one start does."""
        self._starts += 1
        hosts = [f"127.0.0.1:{free_port()}" for _ in range(workers)]
        return [self._order(hosts, index, (kills or {}).get(index)) for index in range(workers)]

    def run(self, workers: int) -> list[Outcome]:
        """Start all workers and wait for their ends."""
        return [attempt.wait() for attempt in self.start(workers)]

    def summaries(self, workers: int) -> list[dict[str, Any]]:
        """Return the summaries of the last start."""
        return [json.loads(self._log(index, "stdout").read_text().splitlines()[-1]) for index in range(workers)]

    def weights(self) -> list[np.ndarray]:
        """Return the weights of the only registered model."""
        (path,) = self.folder.glob("artifacts/**/model.keras")
        return [np.array(weight) for weight in keras.models.load_model(path).get_weights()]

    def series(self) -> Series:
        """Return the metrics of the only run, without what a clock decides."""
        return read_series(self.database, [self.summaries(1)[0]["run_id"]])

    def _order(self, hosts: list[str], index: int, kill: Kill | None) -> Order:
        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.database}"}
        if len(hosts) > 1:
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": task})
        logs = (self._log(index, "stderr"), self._log(index, "stdout"))
        return Order(self._arguments, environment, *logs, module="jobs.train", watched=STEPS, kill=kill)

    def _log(self, index: int, kind: str) -> Path:
        return self.folder / f"start-{self._starts}-worker-{index}.{kind}"
