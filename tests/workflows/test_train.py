"""Trainings of several seeds of which one fails, and a worker that follows a chief: real MLflow, trained in no time."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from dogbreed.core.errors import DataError, EnvironmentUnsupported
from dogbreed.core.rendezvous import ClusterSpec
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.serving import classifier
from dogbreed.tracking import resumable_run
from dogbreed.tracking import runs as tracking
from dogbreed.training.checkpoint import CheckpointInterval
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import train
from dogbreed.workflows.train import TrainJob
from tests.support.registry import tiny

AWAY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        mlflow.search_experiments()
    return path


@pytest.fixture(autouse=True)
def database(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test has a database to itself."""
    uri = f"sqlite:///{shutil.copy(empty, tmp_path)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(resumable_run, "ANSWER_WITHIN", 60.0)
    return uri


class Trainer:
    """Stands in for trainer.train: notes the seeds, and gives a model that it has not trained."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.failing: set[int] = set()
        self.meanwhile: Callable[[], object] = lambda: None

    def train(self, recipe: Any, manifest: Any, pipeline: Any, seed: int, *others: Any) -> TrainResult:
        self.seeds.append(seed)
        hashes = f"weights {len(self.seeds)}", f"optimizer {len(self.seeds)}"
        self.meanwhile()
        if seed in self.failing:
            raise DataError(f"seed {seed} diverged")
        epoch = {"epoch": 1.0, "loss": 1.0, "val_loss": 1.0, "top1": 0.5, "val_top1": 0.5}
        cost = {"train_seconds": 1.0, "peak_rss_mb": 100.0}
        return TrainResult(tiny(), (epoch,), cost, 0, *hashes)

    def predict(self, *_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give validation labels, answers and photos; of four, as many are right as the last seed's number."""
        answers = np.eye(4, dtype=np.float32)[np.roll(np.arange(4), 1)]
        right = self.seeds[-1]
        answers[:right] = np.eye(4, dtype=np.float32)[:right]
        return np.arange(4), answers, np.zeros((4, 32, 32, 3), np.uint8)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(train.trainer, "train", trainer.train)
    monkeypatch.setattr(train, "predict", trainer.predict)
    monkeypatch.setattr(train, "configure", lambda name: None)  # the log is pytest's
    # seconds each: to draw, to log a model's files, to look for garbage
    monkeypatch.setattr(tracking.Run, "log_figure", lambda *_: None)
    monkeypatch.setattr(classifier, "log_model", lambda *_: mlflow.create_external_model(name="model"))
    monkeypatch.setattr(train.keras.utils, "clear_session", lambda: None)
    return trainer


@pytest.fixture
def work(dataset: Path, tmp_path: Path) -> TrainJob:
    store, recipe = (
        LocalStore(dataset),
        apply_overrides(get_recipe("simple-64"), ["size=32", "batch_size=8", "epochs=1"]),
    )
    every, checkpoints = CheckpointInterval.from_text("1h"), str(tmp_path / "checkpoints")
    return TrainJob(
        recipe, None, load_manifest(store), store, tmp_path, checkpoints, every, 0, False, DistributedContext()
    )


def runs() -> dict[str, str]:
    """Return the status of every training's run by the seed in it, "" for the one above all."""
    found = mlflow.search_runs(experiment_names=["dogbreed/train"], output_format="list")
    assert len({run.data.params.get("seed", "") for run in found}) == len(found), "two runs of one seed"
    return {run.data.params.get("seed", ""): run.info.status for run in found}


def test_after_a_seed_has_failed_the_same_call_does_the_rest_and_nothing_twice(
    work: TrainJob, trainer: Trainer
) -> None:
    trainer.failing = {1}
    with pytest.raises(DataError, match="seed 1 diverged"):
        train.run_seeds(work, (0, 1, 2), None)
    assert trainer.seeds == [0, 1]
    assert runs() == {"0": "FINISHED", "1": "FAILED"}

    trainer.failing = set()
    summary = train.run_seeds(work, (0, 1, 2), None)
    assert trainer.seeds == [0, 1, 1, 2]
    assert runs() == {"0": "FINISHED", "1": "FINISHED", "2": "FINISHED", "": "FINISHED"}
    scores = [summary[f"{which}_val_top1"] for which in ("min", "mean", "max")]
    assert scores == pytest.approx([0, 0.25, 0.5])
    assert (summary["versions"], summary["model_version"]) == ([1, 2, 3], 3)

    assert train.run_seeds(work, (0, 1, 2), None) == summary
    assert trainer.seeds == [0, 1, 1, 2]


class Second(DistributedContext):
    """The second of two workers, whose first one is not there: it says what `said` holds."""

    def __init__(self, said: list[int]) -> None:
        super().__init__("multiworker", ClusterSpec(("a:1", "b:1"), 1))
        self.said, self.met = said, list[str]()

    def join(self) -> None:
        self.met.append("joined")

    def assert_same(self, fingerprint: str) -> None:
        self.met.append(f"agreed on {fingerprint}")

    def broadcast(self, numbers: Any = (), count: int = 0) -> list[int]:
        return self.said

    def barrier(self) -> None:
        self.met.append("met")


def test_a_worker_that_cannot_ask_mlflow_at_its_start_trains_with_the_others(
    work: TrainJob, trainer: Trainer, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers, chiefs = Second([0, 0, 0]), list[dict[str, Any]]()

    def deliver() -> None:
        """MLflow is back, and the chief hands over the same training."""
        if not chiefs:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
            chiefs.append({})
            chiefs[0] = train.train(work, 0, None)

    trainer.meanwhile = deliver
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    summary = train.train(replace(work, distribution=workers), 0, None)  # begins first, hence "1"
    assert "MLflow did not take the question whether this job is done" in caplog.text
    assert workers.met == ["joined", f"agreed on {work.fingerprint(0)}", "met"]
    assert summary == {**chiefs[0], "weights_sha256": "weights 1", "optimizer_sha256": "optimizer 1"}
    assert chiefs[0]["weights_sha256"] == "weights 2"
    assert runs() == {"0": "FINISHED"}


def test_a_worker_asks_first_and_does_not_wait_for_a_chief_that_is_done(work: TrainJob, trainer: Trainer) -> None:
    done, workers = train.train(work, 0, None), Second([0, 0, 0])
    assert train.train(replace(work, distribution=workers), 0, None) == done
    assert (workers.met, trainer.seeds) == ([], [0])


@pytest.mark.usefixtures("trainer")
def test_a_worker_that_does_not_see_the_chiefs_checkpoint_is_impossible_here(work: TrainJob) -> None:
    workers = Second([7, 1, 2])  # step, lease and number
    with pytest.raises(EnvironmentUnsupported, match=r"00000007-1-2.*--checkpoints") as error:
        train.train(replace(work, distribution=workers), 0, None)
    assert error.value.exit_code == 78
    assert "met" not in workers.met
