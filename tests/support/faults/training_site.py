"""A training in which everything is on that has a state, and what a run of it that nobody hurts leaves."""

import itertools
import json
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow

from tests.support.attempt import Outcome, attempt
from tests.support.faults.preprocess_sites import archives
from tests.support.watched_job import STEPS, Order

DATA = ("--size", "32", "--max-quarantined", "0.1")
BODY = ("model=simple", "size=32", "batch_size=4", "epochs=4", "learning_rate=0.003", "warmup_epochs=1")
SETTINGS = (
    "patience=2", "trainable_fraction=0.8", "layer_decay=0.5", "dropout=0.3", "ema_decay=0.9", "global_clipnorm=1",
    "class_weights=true",
    "augment.cutmix_prob=0.3", "augment.mixup_prob=0.2", "augment.erase_prob=0.3",
    "head.epochs=3", "head.augmentations=2",
    "head.batch_size=8",
)  # fmt: skip
TIMINGS = ("epoch_seconds", "images_per_second", "input_wait_fraction", "train_seconds", "cpu_hours", "peak_rss_mb")

Series = dict[str, list[tuple[int, float]]]  # metric -> its points, by step


@dataclass(frozen=True)
class Clean:
    """What a training that nobody hurts ends with, and when its steps came."""

    hashes: tuple[str, str]
    series: Series
    outcome: Outcome  # watched by STEPS


@dataclass(frozen=True)
class Ward:
    """A folder for one training: its MLflow database, its checkpoints, its logs."""

    site: "TrainingSite"
    key: str  # job key
    folder: Path
    database: Path  # SQLite file that MLflow keeps its runs in

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.folder / "checkpoints" / self.key

    def order(self, *options: str, environment: Mapping[str, str] | None = None, **details: Any) -> Order:
        """Return an order to train here."""
        log = self.folder / f"attempt-{next(self.site.numbers)}"
        own = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.database}"}
        return Order(
            arguments=(
                *self.site.arguments,
                "--name",
                self.key,
                "--checkpoints",
                str(self.folder / "checkpoints"),
                *options,
            ),
            environment={**own, **(environment or {})},
            stderr=log.with_suffix(".stderr"),
            stdout=log.with_suffix(".stdout"),
            module="jobs.train",
            **details,
        )

    def problems(self, summary: Path) -> list[str]:
        """Return what distinguishes the finished training from the clean one: nothing, after a recovery."""
        ended, clean = json.loads(summary.read_text().splitlines()[-1]), self.site.clean
        found = []
        if (ended["weights_sha256"], ended["optimizer_sha256"]) != clean.hashes:
            found.append("other weights or another optimizer than the clean run's")
        with closing(sqlite3.connect(self.database)) as connection:
            runs = connection.execute(
                "SELECT r.status, r.run_uuid FROM runs r JOIN tags t USING (run_uuid)"
                " WHERE t.key = 'dogbreed.job_key' AND t.value = ?",
                (self.key,),
            ).fetchall()
            ids = [run_id for _, run_id in runs]
            versions = connection.execute("SELECT run_id FROM model_versions").fetchall()
        if [status for status, _ in runs] != ["FINISHED"]:
            found.append(f"runs {runs}, not one that is finished")
        if (count := sum(run_id in ids for (run_id,) in versions)) != 1:
            found.append(f"{count} model versions, not 1")
        series = read_series(self.database, ids)
        for metric in sorted(series.keys() | clean.series.keys()):
            if series.get(metric) != clean.series.get(metric):
                found.append(f"{metric} is {series.get(metric)}, not {clean.series.get(metric)}")
        return found


class TrainingSite:
    """A dataset and weights for trainings that are to be hurt."""

    def __init__(self, work: Path, taught: bool = False) -> None:
        """taught: whether the trainings have a teacher, which is where their weights come from, too."""
        self.work, self.numbers = work, itertools.count()
        for key, data in archives().items():
            (work / key).write_bytes(data)
        made = self._run("preprocess", "--source", "synthetic", "--raw", str(work), "--out", str(work / "data"), *DATA)
        assert made.exit_code == 0, made.stderr
        begin = self._run("train", "--data", str(work / "data"), "--recipe", "mobilenetv2-160", *_set(BODY))
        assert begin.exit_code == 0, begin.stderr
        (weights,) = work.glob("artifacts/**/model.keras")
        self.arguments = (
            "--data", str(work / "data"), "--recipe", "mobilenetv2-160", "--weights", str(weights), "--deterministic",
            "--checkpoint-every", "3", "--log-every", "2", *_set(BODY), *_set(SETTINGS),
        )  # fmt: skip
        if taught:
            teacher = weights.parents[1]  # the folder of the whole model
            self.arguments += ("--teacher", str(teacher), "--set", "distillation.views=3")

    def _run(self, job: str, *arguments: str) -> Outcome:
        own = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.work}/mlflow.db"}
        log = self.work / job
        return attempt(Order(arguments, own, log.with_suffix(".stderr"), log.with_suffix(".stdout"), f"jobs.{job}"))

    def ward(self, database: Path | None = None) -> Ward:
        """Return an empty one; without a database it gets its own, whose tables are made already."""
        number = next(self.numbers)
        ward = Ward(self, f"job-{number}", self.work / str(number), database or self.work / f"{number}.db")
        ward.folder.mkdir(parents=True)
        if database is None:
            shutil.copy(self.template, ward.database)
        return ward

    @cached_property
    def template(self) -> Path:
        """An MLflow database without a run."""
        path = self.work / "template.db"
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
        return path

    @cached_property
    def clean(self) -> Clean:
        """The training that nobody hurts; it runs when first asked for."""
        ward = self.ward()
        order = ward.order(watched=STEPS)
        outcome = attempt(order)
        assert outcome.exit_code == 0, outcome.stderr
        summary = json.loads(order.stdout.read_text().splitlines()[-1])
        return Clean(
            (summary["weights_sha256"], summary["optimizer_sha256"]),
            read_series(ward.database, [summary["run_id"]]),
            outcome,
        )


def _set(settings: Iterable[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def read_series(database: Path, runs: Iterable[str]) -> Series:
    """Return each metric's points in these runs, in the order of their steps, without what a clock decides."""
    series: Series = defaultdict(list)
    chosen = set(runs)
    with closing(sqlite3.connect(database)) as connection:
        for run, key, step, value in connection.execute(
            "SELECT run_uuid, key, step, value FROM metrics ORDER BY key, step"
        ):
            if run in chosen and key not in TIMINGS and not key.startswith("system/"):
                series[key].append((step, value))
    return dict(series)
