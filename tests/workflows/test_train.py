"""Several seeds of which one fails, a worker beside its chief, a trace: real MLflow, mostly a fake trainer."""

import io
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest

from dogbreed.core.errors import DataError, EnvironmentUnsupported
from dogbreed.core.rendezvous import ClusterSpec
from dogbreed.core.storage import LocalStore
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.evaluation import zoom
from dogbreed.evaluation.predict import SplitPredictions
from dogbreed.serving import classifier
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.tracking import runs as tracking
from dogbreed.tracking.resumable_run import ResumableRun, Timeouts
from dogbreed.training.checkpointer import CheckpointInterval
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.workflows import train, train_seeds
from dogbreed.workflows.train_job import TrainJob
from tests.support.fake_trainer import Trainer
from tests.support.traces import traced_steps

AWAY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to create."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        mlflow.search_experiments()
    return path


@pytest.fixture(autouse=True)
def database(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give each test a database of its own."""
    uri = f"sqlite:///{shutil.copy(empty, tmp_path)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(train, "ResumableRun", partial(ResumableRun, timeouts=Timeouts(start=60.0)))
    return uri


@pytest.fixture
def quick_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither draw figures nor log the files of a model, which takes seconds each."""
    monkeypatch.setattr(train, "configure", lambda name: None)  # the log is pytest's
    monkeypatch.setattr(tracking.Run, "log_figure", lambda *_: None)
    monkeypatch.setattr(classifier, "log_model", lambda *_: mlflow.create_external_model(name="model"))


@pytest.fixture
def trainer(quick_outputs: None, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(train.trainer, "train", trainer.train)
    monkeypatch.setattr(train, "predict", trainer.predict)
    monkeypatch.setattr(train_seeds.keras.utils, "clear_session", lambda: None)  # collects garbage, seconds
    return trainer


@pytest.fixture
def job(dataset: Path, tmp_path: Path) -> TrainJob:
    store, recipe = (
        LocalStore(dataset),
        apply_overrides(get_recipe("simple-64"), ["size=32", "batch_size=8", "epochs=1"]),
    )
    return TrainJob(
        recipe=recipe,
        init_weights=None,
        manifest=load_manifest(store),
        store=store,
        registered_model="dogbreed",
        experiment_prefix="dogbreed",
        scratch=tmp_path,
        checkpoints=str(tmp_path / "checkpoints"),
        interval=CheckpointInterval.from_text("1h"),
        log_every=0,
        profile=False,
        restart=False,
        distribution=DistributedContext(),
    )


def status_by_seed() -> dict[str, str]:
    """Return the status of every training's run by its seed, "" for the parent run."""
    found = mlflow.search_runs(experiment_names=["dogbreed/train"], output_format="list")
    assert len({run.data.params.get("seed", "") for run in found}) == len(found), "two runs of one seed"
    return {run.data.params.get("seed", ""): run.info.status for run in found}


def test_after_a_seed_has_failed_the_same_call_trains_only_the_missing_seeds(job: TrainJob, trainer: Trainer) -> None:
    trainer.failing = {1}
    with pytest.raises(DataError, match="seed 1 diverged"):
        train_seeds.train_seeds(job, (0, 1, 2), None)
    assert trainer.seeds == [0, 1]
    assert status_by_seed() == {"0": "FINISHED", "1": "FAILED"}

    trainer.failing = set()
    summary = train_seeds.train_seeds(job, (0, 1, 2), None)
    assert trainer.seeds == [0, 1, 1, 2]
    assert status_by_seed() == {"0": "FINISHED", "1": "FINISHED", "2": "FINISHED", "": "FINISHED"}
    scores = [summary[f"{which}_val_top1"] for which in ("min", "mean", "max")]
    assert scores == pytest.approx([0, 0.25, 0.5])
    assert (summary["versions"], summary["model_version"]) == ([1, 2, 3], 3)

    assert train_seeds.train_seeds(job, (0, 1, 2), None) == summary
    assert trainer.seeds == [0, 1, 1, 2]


@pytest.mark.usefixtures("quick_outputs")
def test_a_profiled_training_has_a_trace_of_steps_10_to_20_among_its_artifacts(job: TrainJob, tmp_path: Path) -> None:
    recipe = apply_overrides(job.recipe, ["epochs=7", "patience=7"])  # of 3 steps each
    summary = train.train(replace(job, recipe=recipe, profile=True), 0, None)
    mlflow.artifacts.download_artifacts(
        run_id=summary["run_id"], artifact_path="profile", dst_path=str(tmp_path / "run")
    )
    assert traced_steps(tmp_path / "run" / "profile") == [*range(10, 21)]


@pytest.fixture
def registered(quick_outputs: None, monkeypatch: pytest.MonkeyPatch) -> list[ModelMetadata]:
    """The metadata of each model that was logged."""
    found: list[ModelMetadata] = []

    def log_model(model: keras.Model, metadata: ModelMetadata, example: bytes) -> object:
        found.append(metadata)
        return mlflow.create_external_model(name="model")

    monkeypatch.setattr(classifier, "log_model", log_model)
    return found


def test_a_training_stores_its_zoom_with_the_model(job: TrainJob, registered: list[ModelMetadata]) -> None:
    recipe = apply_overrides(job.recipe, ["size=24", "test_zoom=1.25"])
    summary = train.train(replace(job, recipe=recipe), 0, None)
    (metadata,) = registered
    assert metadata.view == ResizeSpec(24, "squash", 1.25)
    assert summary["test_zoom"] == 1.25
    run = mlflow.get_run(summary["run_id"])
    table = pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tables/test_zooms.csv")))
    assert table[["zoom", "outer_size"]].to_numpy().tolist() == [[1, 24], [1.25, 30]]
    assert table.top1.tolist() == pytest.approx([summary["val_top1"], summary["val_top1_zoomed"]])


def test_the_best_zoom_on_validation_is_chosen(
    job: TrainJob, trainer: Trainer, registered: list[ModelMetadata], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(model: Any, pipeline: InputPipeline, split: str, num_images: int) -> SplitPredictions:
        right = 4 if pipeline.view.zoom in (1.125, 1.1875) else 1
        return SplitPredictions(np.arange(4), np.eye(4)[[*range(right), *[0] * (4 - right)]], np.zeros(0))

    monkeypatch.setattr(zoom, "predict", predict)
    summary = train.train(replace(job, recipe=apply_overrides(job.recipe, ["size=24"])), 0, None)
    assert [metadata.zoom for metadata in registered] == [1.125]
    found = [summary[name] for name in ("val_top1", "test_zoom", "val_top1_zoomed")]
    assert found == [0, 1.125, 1]
    assert train.train(replace(job, recipe=apply_overrides(job.recipe, ["size=24"])), 0, None) == summary


@pytest.mark.usefixtures("trainer")
def test_the_training_that_was_requested_last_is_the_candidate_even_if_it_was_done_before(job: TrainJob) -> None:
    def candidate() -> int:
        return int(mlflow.MlflowClient().get_model_version_by_alias("dogbreed", "candidate").version)

    first = train.train(job, 0, None)
    other = train.train(job, 0, "other")
    assert candidate() == other["model_version"] == 2
    assert train.train(job, 0, None) == first
    assert candidate() == first["model_version"] == 1


class SecondWorker(DistributedContext):
    """The second of two workers without a chief: `broadcast` returns given numbers."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__("multiworker", ClusterSpec(("a:1", "b:1"), 1))
        self.numbers, self.calls = numbers, list[str]()

    def join(self) -> None:
        self.calls.append("join")

    def assert_same(self, fingerprint: str) -> None:
        self.calls.append(f"assert_same {fingerprint}")

    def broadcast(self, numbers: Any = (), count: int = 0) -> list[int]:
        return self.numbers

    def barrier(self) -> None:
        self.calls.append("barrier")


def test_a_worker_without_mlflow_at_its_start_trains_with_the_others(
    job: TrainJob, trainer: Trainer, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers, chiefs = SecondWorker([0, 0, 0]), list[dict[str, Any]]()

    def finish() -> None:
        """MLflow is available again, and the chief finishes the same training."""
        if not chiefs:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
            chiefs.append({})
            chiefs[0] = train.train(job, 0, None)

    trainer.meanwhile = finish
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    summary = train.train(replace(job, distribution=workers), 0, None)  # starts first, hence "1"
    assert "the query for a finished run" in caplog.text
    assert workers.calls == ["join", f"assert_same {job.fingerprint(0)}", "barrier"]
    assert summary == {**chiefs[0], "weights_sha256": "weights 1", "optimizer_sha256": "optimizer 1"}
    assert chiefs[0]["weights_sha256"] == "weights 2"
    assert status_by_seed() == {"0": "FINISHED"}


def test_a_worker_does_not_wait_for_a_chief_that_is_done(job: TrainJob, trainer: Trainer) -> None:
    done, workers = train.train(job, 0, None), SecondWorker([0, 0, 0])
    assert train.train(replace(job, distribution=workers), 0, None) == done
    assert (workers.calls, trainer.seeds) == ([], [0])


@pytest.mark.usefixtures("trainer")
def test_a_worker_does_not_wait_for_a_chief_that_is_refused(job: TrainJob) -> None:
    train.train(job, 0, "taken")
    workers = SecondWorker([0, 0, 0])
    with pytest.raises(DataError, match="--name"):  # seed 1 is another training under the same key
        train.train(replace(job, distribution=workers), 1, "taken")
    assert workers.calls == []


@pytest.mark.usefixtures("trainer")
def test_a_worker_that_cannot_see_the_chiefs_checkpoint_is_unsupported(job: TrainJob) -> None:
    workers = SecondWorker([7, 1, 2])  # step, lease and write
    with pytest.raises(EnvironmentUnsupported, match=r"00000007-1-2.*--checkpoints") as error:
        train.train(replace(job, distribution=workers), 0, None)
    assert error.value.exit_code == 78
    assert "barrier" not in workers.calls
