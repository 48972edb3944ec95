"""jobs.predict below its command line: what --images may name, and images that have no prediction."""

import csv
import logging
from pathlib import Path

import mlflow
import pytest

from dogbreed.core.errors import DataError
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.serving import model_files
from dogbreed.tracking import runs
from dogbreed.workflows.predict import PredictJob, open_images, predict
from dogbreed.workflows.sharded_build import Worker
from tests.support.encoded_images import encoded, flat
from tests.support.small_model import SIZE, small_model


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def asked(tmp_path: Path) -> PredictJob:
    metadata = model_files.ModelMetadata(("a", "b", "c", "d"), SIZE, "squash", "dogbreed", "digest")
    model_files.save(small_model(), metadata, tmp_path / "model")
    images, out = LocalStore(tmp_path / "images"), LocalStore(tmp_path / "out")
    for number in range(7):
        images.put(f"{number}.jpg", b"no image")
    return PredictJob(
        model=str(tmp_path / "model"), images=images, only=None, max_ignored=0.01, out=out, experiment_prefix=None,
        kind="csv", shards=None,
        verify=False, worker=Worker(), gpus=None,
    )  # fmt: skip


def test_a_job_of_which_every_image_is_an_error_fails_and_keeps_its_rows(asked: PredictJob) -> None:
    for _ in ("new", "complete already"):
        message = r"no prediction of 7 images .*0\.jpg: not an image of a known format, .*4\.jpg: .* and 2 more"
        with pytest.raises(DataError, match=message) as error:
            predict(asked)
        assert error.value.exit_code == 65
    (rows,) = [key for key in asked.out.list() if key.startswith("shards/")]
    found = list(csv.DictReader(asked.out.read(rows).decode().splitlines()))
    assert [row["error"] for row in found] == ["not an image of a known format"] * 7
    assert "manifest.json" in asked.out.list()
    (run,) = mlflow.MlflowClient().search_runs([runs.experiment("dogbreed", "predict")])
    assert run.data.metrics["errors"] == 7


def test_some_errors_are_a_warning_that_counts_and_names_them(
    asked: PredictJob, caplog: pytest.LogCaptureFixture
) -> None:
    asked.images.put("a.jpg", encoded(flat(100)))
    with caplog.at_level(logging.WARNING):
        summary = predict(asked)
    assert (summary["rows"], summary["errors"]) == (8, 7)  # type: ignore[typeddict-item]
    assert "images without a prediction: 7 of 8 (0.jpg: not an image of a known format, 1.jpg: " in caplog.text
    assert "and 2 more)" in caplog.text


def test_images_may_name_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/c.jpg").touch()
    store, only = open_images(f"{tmp_path}/a b/c.jpg")
    assert (store.uri, only) == (f"{tmp_path}/a b", "c.jpg")
    monkeypatch.chdir(tmp_path / "a b")
    store, only = open_images("c.jpg")
    assert [*store.list()] == [only] == ["c.jpg"]
    open_store(bucket).put("x/c.jpg", b"")
    store, only = open_images(f"{bucket}/x/c.jpg")
    assert (store.uri, only) == (f"{bucket}/x", "c.jpg")


def test_images_may_name_a_folder_that_is_called_like_an_image(tmp_path: Path) -> None:
    (tmp_path / "dogs.png").mkdir()
    store, only = open_images(f"{tmp_path}/dogs.png")
    assert (store.uri, only) == (f"{tmp_path}/dogs.png", None)
