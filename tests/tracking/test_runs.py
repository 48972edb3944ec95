"""MLflow runs on a real SQLite store, and a server that is lost while a job needs it."""

import errno
import http.server
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException, RestException

from dogbreed.core.errors import (
    DataError,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    ShutdownRequested,
    UsageError,
)
from dogbreed.tracking import mlflow_errors, registry, runs


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking store of the test's own, by the variable that jobs read: MLflow's setter would outlive the test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def open_run(**tags: str) -> mlflow.entities.Run:
    with runs.start_run("dogbreed", "train", "test", {"a": {"b": 1}}, tags) as run:
        pass
    return runs.get_run(run.id)


def test_the_status_of_a_run_follows_from_its_error() -> None:
    ends: dict[str, type[BaseException] | None] = {
        "FINISHED": None, "FAILED": ValueError, "KILLED": ShutdownRequested,
    }  # fmt: skip
    for status, error in ends.items():
        run_id = ""
        try:
            with runs.start_run("dogbreed", "train", "test", {}, {}) as run:
                run_id = run.id
                if error:
                    raise error
        except (ValueError, ShutdownRequested):
            assert error
        assert runs.get_run(run_id).info.status == status


def test_parameters_are_flat_and_artifacts_are_stored_beside_the_database(tmp_path: Path) -> None:
    run = open_run()
    assert run.data.params == {"a.b": "1"}
    assert run.info.artifact_uri.startswith((tmp_path / "artifacts" / "dogbreed" / "train").as_uri())


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Metrics are refused until this list is empty; parameters are accepted."""
    log_batch, broken = mlflow.MlflowClient.log_batch, [True]

    def flaky(client: mlflow.MlflowClient, run_id: str, metrics: Sequence[Metric] = (), **named: Any) -> object:
        if metrics and broken:
            raise MlflowException("away")
        return log_batch(client, run_id, metrics, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", flaky)
    return broken


def test_a_run_of_its_own_is_written_whatever_run_is_active_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient()
    foreign = client.create_run(client.create_experiment("foreign")).info
    client.set_terminated(foreign.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", foreign.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", foreign.experiment_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "foreign")
    before = client.get_run(foreign.run_id).to_dictionary()
    with mlflow.start_run(run_id=client.create_run(foreign.experiment_id).info.run_id) as active:
        own = open_run()
        assert mlflow.active_run() is active
    assert client.get_experiment(own.info.experiment_id).name == "dogbreed/train"
    assert own.data.params == {"a.b": "1"}
    assert "mlflow.parentRunId" not in own.data.tags
    assert client.get_run(foreign.run_id).to_dictionary() == before
    assert client.get_run(active.info.run_id).data.params == {}


def test_metrics_that_were_refused_are_sent_with_the_next_ones(away: list[bool]) -> None:
    with runs.start_run("dogbreed", "train", "test", {}, {}) as run:
        for step in range(1, 1500):
            run.log_metrics(step, {"loss": step / 2})
        away.clear()
    history = mlflow.MlflowClient().get_metric_history(run.id, "loss")
    assert sorted(point.step for point in history) == list(range(1, 1500))


@pytest.mark.usefixtures("away")
def test_a_run_whose_metrics_were_never_accepted_is_failed() -> None:
    with (
        pytest.raises(RetryableError, match="again"),
        runs.start_run("dogbreed", "train", "test", {}, {}) as run,
    ):
        run.log_metrics(1, {"loss": 1.0})
    assert runs.get_run(run.id).info.status == "FAILED"


def test_an_artifact_that_is_refused_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise MlflowException("away")

    monkeypatch.setattr(mlflow, "log_text", away)
    with runs.start_run("dogbreed", "train", "test", {}, {}) as run:
        run.log_text("tables/x.csv", "x")
    assert runs.get_run(run.id).info.status == "FINISHED"
    assert "MLflow did not accept tables/x.csv: away" in caplog.text


def test_a_finished_job_of_that_name_must_have_been_the_same_job() -> None:
    assert runs.finished_training("dogbreed", "mine", "content") is None
    run = open_run(**{runs.JOB_KEY: "mine", runs.JOB_FINGERPRINT: "content"})
    done = runs.finished_training("dogbreed", "mine", "content")
    assert done is not None
    assert done.info.run_id == run.info.run_id
    with pytest.raises(DataError, match="choose another --name"):
        runs.finished_training("dogbreed", "mine", "other")


def test_an_experiment_that_another_job_makes_meanwhile_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made = open_run().info.experiment_id
    find, asked = mlflow.get_experiment_by_name, []

    def late(name: str) -> object:
        asked.append(name)
        return None if len(asked) == 1 else find(name)

    monkeypatch.setattr(mlflow, "get_experiment_by_name", late)
    assert open_run().info.experiment_id == made
    assert asked == ["dogbreed/train"] * 2


@pytest.mark.parametrize("uri", ["models:/dogbreed@candidate", "models:/dogbreed/7", "runs:/0123/model", "nowhere"])
def test_a_model_that_does_not_exist_is_an_unknown_name(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no model at {uri}"):
        registry.download(registry.resolve(uri), tmp_path / "model")


@pytest.fixture
def dying() -> Iterator[str]:
    """A server that responds to the first request of a job, and 503 to everything else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == mlflow_errors.SEARCH else 503)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_lost_server_is_retryable(dying: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dying)
    with pytest.raises(RetryableError, match=f"MLflow at {dying}"):
        open_run()
    with pytest.raises(RetryableError):
        runs.finished_training("dogbreed", "mine", "content")
    with pytest.raises(RetryableError):
        registry.resolve("models:/dogbreed@candidate")
    with pytest.raises(RetryableError):
        runs.get_run("0123")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("PERMISSION_DENIED", PermissionDenied),
        ("UNAUTHENTICATED", PermissionDenied),
        ("INVALID_STATE", DataError),
        ("TEMPORARILY_UNAVAILABLE", RetryableError),
    ],
)
def test_a_refusal_of_mlflow_has_an_exit_code_of_its_own(code: str, kind: type[Exception]) -> None:
    error = RestException({"error_code": code, "message": "no"})
    with pytest.raises(kind, match="no"), mlflow_errors.translate():
        raise error


def test_a_deleted_experiment_is_a_data_error() -> None:
    mlflow.delete_experiment(open_run().info.experiment_id)
    with pytest.raises(DataError, match="restore what was deleted"):
        open_run()


def test_a_full_disk_is_not_an_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", full)
    with pytest.raises(OSError, match="No space left"):
        registry.download(f"runs:/{open_run().info.run_id}/model", tmp_path)


def test_a_server_that_never_responded_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailable, match="check MLFLOW_TRACKING_URI"):
        open_run()


def test_the_round_trip_of_the_preflight_deletes_its_run() -> None:
    assert runs.check_round_trip("dogbreed").endswith("run, metric, artifact")
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []
