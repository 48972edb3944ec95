"""MLflow runs on a real SQLite store, and a server that is lost while a job needs it."""

import errno
import http.server
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
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
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.serving import classifier
from dogbreed.tracking import mlflow_errors, runs
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import summaries


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking store of the test's own, by the variable that jobs read: MLflow's setter would outlive the test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def open_run(**tags: str) -> mlflow.entities.Run:
    with runs.start_run("train", "test", {"a": {"b": 1}}, tags) as run:
        pass
    return runs.get_run(run.id)


def test_a_run_ends_as_what_happened_to_it() -> None:
    ends: dict[str, type[BaseException] | None] = {
        "FINISHED": None, "FAILED": ValueError, "KILLED": ShutdownRequested,
    }  # fmt: skip
    for status, error in ends.items():
        run_id = ""
        try:
            with runs.start_run("train", "test", {}, {}) as run:
                run_id = run.id
                if error:
                    raise error
        except (ValueError, ShutdownRequested):
            assert error
        assert runs.get_run(run_id).info.status == status


def test_parameters_are_flat_and_artifacts_lie_beside_the_database(tmp_path: Path) -> None:
    run = open_run()
    assert run.data.params == {"a.b": "1"}
    assert run.info.artifact_uri.startswith((tmp_path / "artifacts" / "train").as_uri())


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Metrics are refused until this list is empty; parameters pass."""
    log_batch, broken = mlflow.MlflowClient.log_batch, [True]

    def flaky(client: mlflow.MlflowClient, run_id: str, metrics: Sequence[Metric] = (), **named: Any) -> object:
        if metrics and broken:
            raise MlflowException("away")
        return log_batch(client, run_id, metrics, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", flaky)
    return broken


def test_points_that_were_not_taken_go_with_the_next_ones(away: list[bool]) -> None:
    with runs.start_run("train", "test", {}, {}) as run:
        for step in range(1, 1500):
            run.log_metrics(step, {"loss": step / 2})
        away.clear()
    history = mlflow.MlflowClient().get_metric_history(run.id, "loss")
    assert sorted(point.step for point in history) == list(range(1, 1500))


@pytest.mark.usefixtures("away")
def test_a_run_whose_points_were_never_taken_is_not_finished() -> None:
    with (
        pytest.raises(RetryableError, match="run the same command again"),
        runs.start_run("train", "test", {}, {}) as run,
    ):
        run.log_metrics(1, {"loss": 1.0})
    assert runs.get_run(run.id).info.status == "FAILED"


def test_a_picture_that_is_not_taken_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise MlflowException("away")

    monkeypatch.setattr(mlflow, "log_text", away)
    with runs.start_run("train", "test", {}, {}) as run:
        run.log_text("tables/x.csv", "x")
    assert runs.get_run(run.id).info.status == "FINISHED"
    assert "MLflow did not take tables/x.csv: away" in caplog.text


def test_a_finished_job_of_that_name_must_have_been_the_same_job() -> None:
    assert runs.finished_training("mine", "content") is None
    run = open_run(**{runs.JOB_KEY: "mine", runs.CONTENT: "content"})
    done = runs.finished_training("mine", "content")
    assert done is not None
    assert done.info.run_id == run.info.run_id
    with pytest.raises(DataError, match="choose another --name"):
        runs.finished_training("mine", "other")


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
        runs.download(runs.resolve(uri), tmp_path / "model")


@pytest.fixture
def dying() -> Iterator[str]:
    """A server that is healthy and answers everything else with 503."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_is_lost_is_a_reason_to_try_again(dying: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dying)
    with pytest.raises(RetryableError, match=f"MLflow at {dying}"):
        open_run()
    with pytest.raises(RetryableError):
        runs.finished_training("mine", "content")
    with pytest.raises(RetryableError):
        runs.resolve("models:/dogbreed@candidate")
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


def test_a_deleted_experiment_contradicts() -> None:
    mlflow.delete_experiment(open_run().info.experiment_id)
    with pytest.raises(DataError, match="restore what was deleted"):
        open_run()


def test_a_full_disk_is_not_an_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", full)
    with pytest.raises(OSError, match="No space left"):
        runs.download("models:/dogbreed/1", tmp_path)


def test_a_database_that_cannot_be_opened_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(ServiceUnavailable, match="check MLFLOW_TRACKING_URI"):
        open_run()


def test_a_server_that_never_answered_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailable, match="check MLFLOW_TRACKING_URI"):
        open_run()


@pytest.fixture
def trained() -> TrainResult:
    photo = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(photo))
    return TrainResult(
        keras.Model(photo, keras.layers.Dense(4, activation="softmax")(x), name="tiny"), (), {}, 0, "w", "o"
    )


def test_an_alias_is_resolved_to_the_version_that_it_names(dataset: Path, trained: TrainResult, tmp_path: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    card = classifier.ModelMetadata(manifest.classes, 32, "squash", manifest.digest)
    photo = tmp_path / "photo.jpg"
    keras.utils.save_img(photo, np.zeros((32, 32, 3)))
    with runs.start_run("train", "test", {}, {}) as run:
        runs.set_candidate_alias(summaries.register(trained, card, photo.read_bytes()))
    assert runs.get_run(run.id).data.tags["dogbreed.model_version"] == "1"
    uri = runs.resolve("models:/dogbreed@candidate")
    assert uri == "models:/dogbreed/1"
    model, loaded = classifier.load(runs.download(uri, tmp_path / "model"))
    assert loaded == card
    summaries.check_classes_match(loaded, manifest)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), trained.model.get_weights(), strict=True))


@pytest.fixture
def register(dataset: Path, trained: TrainResult, tmp_path: Path) -> Callable[[], int]:
    """Register a tiny model in the active run."""
    photo = tmp_path / "photo.jpg"
    keras.utils.save_img(photo, np.zeros((32, 32, 3)))
    card = classifier.ModelMetadata(load_manifest(LocalStore(dataset)).classes, 32, "squash", "digest")
    return lambda: summaries.register(trained, card, photo.read_bytes())


def test_a_model_that_mlflow_does_not_take_is_a_reason_to_try_again(
    register: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise MlflowException("away")

    monkeypatch.setattr(mlflow.pyfunc, "log_model", away)
    with (
        runs.start_run("train", "test", {}, {}),
        pytest.raises(RetryableError, match="MLflow did not take the model: away"),
    ):
        register()


def test_registering_again_after_being_cut_off_anywhere_gives_one_version(
    register: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow.MlflowClient()

    def cut_off(*_: object, **__: object) -> None:
        raise MlflowException("cut off")

    with runs.start_run("train", "test", {}, {}) as run:
        for target, method in (
            (mlflow.MlflowClient, "finalize_logged_model"),
            (mlflow, "register_model"),
            (mlflow, "set_tags"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(target, method, cut_off)
                with pytest.raises(RetryableError, match="cut off"):
                    register()
        assert (register(), register()) == (1, 1)
    (version,) = client.search_model_versions("name = 'dogbreed'")
    (model,) = client.search_logged_models([runs.experiment("train")])
    assert version.run_id == run.id
    assert version.source == f"models:/{model.model_id}"


def test_a_model_of_other_breeds_contradicts_and_one_of_other_data_is_a_warning(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = load_manifest(LocalStore(dataset))
    with pytest.raises(DataError, match="knows 1 breeds"):
        summaries.check_classes_match(classifier.ModelMetadata(("a",), 32, "squash", manifest.digest), manifest)
    summaries.check_classes_match(classifier.ModelMetadata(manifest.classes, 32, "squash", "other"), manifest)
    assert "trained on dataset other, this is" in caplog.text
