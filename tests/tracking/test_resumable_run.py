"""The run of a training on a real SQLite store: continued without gaps or duplicates, with the right status."""

import contextlib
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.exceptions import MlflowException

from dogbreed.core.errors import DataError, LeaseLost, RetryableError, ServiceUnavailable, ShutdownRequested
from dogbreed.tracking.metric_spool import MetricSpool
from dogbreed.tracking.resumable_run import Description, ResumableRun, Timeouts
from dogbreed.tracking.runs import Run


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


PATIENT = Timeouts(start=60.0, retry_every=0.1, terminate=60.0)  # the tables are created by the first request
DATA = DatasetInput(Dataset("dogs", "digest", "local", "{}"), [InputTag("mlflow.data.context", "training")])
JOB = Description(
    "dogbreed", "key", "content", "simple-key", {f"p{n}": n for n in range(120)}, {"tag": "x"}, DATA, fresh=False
)


def train(
    job: Description,
    steps: range,
    state: bytes | None = None,
    error: type[BaseException] | None = None,
    timeouts: Timeouts = PATIENT,
) -> ResumableRun:
    """Log `steps`, after restoring `state` if it is given, and finish or fail."""
    with contextlib.suppress(*[error] if error else []), ResumableRun(job, timeouts) as run:
        if state is not None:
            run.restore(state)
        for step in steps:
            run.log_metrics(step, {"loss": step / 10, "top1": step / 20})
        if error:
            raise error
        run.finish(lambda run: run.log_metrics(0, {"best": 1.0}))
    return run


def runs() -> list[mlflow.entities.Run]:
    return mlflow.search_runs(experiment_names=["dogbreed/train"], output_format="list")


def points(run_id: str, metric: str = "loss") -> list[tuple[int, float]]:
    history = mlflow.MlflowClient().get_metric_history(run_id, metric)
    return sorted((point.step, point.value) for point in history)


def test_a_stopped_training_continues_its_run_without_gaps_or_duplicates() -> None:
    first = train(JOB, range(1, 4), error=ShutdownRequested)
    assert [run.info.status for run in runs()] == ["KILLED"]
    spool = MetricSpool()
    spool.add(1, {"loss": 0.1, "top1": 0.05})  # the checkpoint is older than what the server has
    second = train(JOB, range(2, 6), state=spool.state())
    (run,) = runs()
    assert (run.info.status, second.id) == ("FINISHED", first.id)
    assert points(run.info.run_id) == [(step, step / 10) for step in range(1, 6)]
    assert points(run.info.run_id, "best") == [(0, 1.0)]
    assert len(run.data.params) == 120
    assert run.data.tags["tag"] == "x"
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["dogs"]


def test_a_run_that_the_server_has_lost_is_created_again_with_all_points() -> None:
    first = train(JOB, range(1, 4), error=ShutdownRequested)
    mlflow.delete_run(first.id)
    second = train(JOB, range(4, 5), state=first.state())
    assert second.id != first.id
    assert [step for step, _ in points(second.id)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "status"), [(ShutdownRequested, "KILLED"), (ValueError, "FAILED"), (LeaseLost, "RUNNING")]
)
def test_the_status_follows_from_the_error(error: type[BaseException], status: str) -> None:
    train(JOB, range(1, 2), error=error)
    assert [run.info.status for run in runs()] == [status]


def test_a_finished_job_is_not_changed_and_fresh_creates_another_run() -> None:
    first = train(JOB, range(1, 2))
    with ResumableRun(JOB, PATIENT) as again:
        assert again.done is not None
        assert again.done.info.run_id == first.id
    train(replace(JOB, fresh=True), range(1, 2), error=LeaseLost)  # as after a SIGKILL
    last = train(replace(JOB, fresh=True), range(1, 3))
    assert {run.info.run_id: run.info.status for run in runs()}[last.id] == "FINISHED"
    assert sorted(run.info.status for run in runs()) == ["FINISHED", "FINISHED", "KILLED"]


def test_the_key_of_another_training_is_a_data_error(caplog: pytest.LogCaptureFixture) -> None:
    train(JOB, range(1, 2), error=ShutdownRequested)
    with pytest.raises(DataError, match="choose another --name"):
        ResumableRun(replace(JOB, fingerprint="other"), PATIENT).__enter__()
    assert "training continues" not in caplog.text


def test_after_its_end_it_sends_no_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(JOB, range(1, 2), error=ShutdownRequested)
    with pytest.raises(DataError):
        ResumableRun(replace(JOB, fingerprint="other"), PATIENT).__enter__()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/next.db")
    time.sleep(5 * PATIENT.retry_every)
    assert not (tmp_path / "next.db").exists()


def test_points_are_sent_again_only_if_the_server_does_not_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    log_batch, lost = mlflow.MlflowClient.log_batch, list[int]()

    def lossy(client: mlflow.MlflowClient, run_id: str, metrics: tuple[Metric, ...] = (), **others: Any) -> None:
        log_batch(client, run_id, metrics, **others)
        if metrics and len(lost) < 2:
            lost.append(len(metrics))
            raise MlflowException("the reply was lost")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", lossy)
    run = train(JOB, range(1, 1500))
    assert len(lost) == 2
    assert [step for step, _ in points(run.id)] == list(range(1, 1500))


def test_finish_is_retried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[Run] = []

    def log_outputs(run: Run) -> None:
        asked.append(run)
        if len(asked) < 3:
            raise RetryableError("the artifact store is away")

    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with ResumableRun(JOB, PATIENT) as run:
        run.finish(log_outputs)
    assert len(asked) == 3
    assert caplog.text.count("next attempt in 1 s: the artifact store is away") == 1
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_without_a_server_a_training_starts_and_only_finish_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailable, match="check MLFLOW_TRACKING_URI"):
        train(JOB, range(1, 2), timeouts=replace(PATIENT, finish=0.0))
    assert "training continues" in caplog.text


HASTY = replace(PATIENT, start=0.3)


def test_a_locked_database_is_named_when_it_delays_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with ResumableRun(JOB, HASTY) as run:
            other.execute("ROLLBACK")
            run.finish(lambda run: None)
    assert f"MLflow's database {tmp_path}/mlflow.db is not ready after 0.3 s: another process" in caplog.text
    assert "server" not in caplog.text


def test_a_server_is_named_when_it_delays_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with ResumableRun(JOB, HASTY):
            pass
    assert "MLflow's server http://127.0.0.1:" in caplog.text


def test_a_spool_restores_what_it_held_bit_for_bit() -> None:
    spool, other = MetricSpool(), MetricSpool()
    spool.add(1, {"loss": 0.1 + 0.2, "top1": 1 / 3})
    spool.add(1, {"loss": 5.0})  # the first value counts
    other.add(9, {"loss": 9.0})
    other.restore(spool.state())
    assert other.state() == spool.state()
    assert spool.state().count(b"\n") == 1
