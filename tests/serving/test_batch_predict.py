"""Batch prediction: a row a photo in three kinds of files, in a folder and a bucket, by one worker or several."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import pytest
import tensorflow as tf
from pyarrow import parquet

from dogbreed.core.errors import DataError, EnvironmentUnsupported, NotFound
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.raw.census import NOT_AN_IMAGE, Ignored
from dogbreed.data.sharded_work import assign_shards, load_if_complete
from dogbreed.serving import batch_predict, classifier, model_files
from dogbreed.serving.row_verification import verify_rows
from dogbreed.serving.row_writers import SCHEMA, WRITERS
from dogbreed.tracking import runs
from tests.support.encoded_images import encoded, flat, upper_white
from tests.support.small_model import SIZE, small_model

PHOTOS = {
    "a/black.jpg": encoded(flat(0)),
    "a/white.PNG": encoded(flat(255), kind="PNG"),
    "b/half.jpeg": encoded(upper_white()),
    "b/broken.jpg": b"no photo",
    "c.jpg": encoded(flat(100)),
}
CLASSES = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "my_own", "d")

ROOT = Path(__file__).parents[2]

Rows = list[dict[str, Any]]
Predict = Callable[..., Manifest | None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model_files.save(small_model(), model_files.ModelMetadata(CLASSES, SIZE, "squash", "dogbreed", "digest"), folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "photos")
    for key, data in {**PHOTOS, "notes.txt": b"not a photo"}.items():
        store.put(key, data)
    return store


@pytest.fixture
def predict(photos: LocalStore, model: Path, pool: ThreadPoolExecutor) -> Predict:
    """What jobs.predict does."""

    def run(out: Store, kind: str = "jsonl", shards: int = 2, index: int | None = None, workers: int = 1) -> Any:
        asked = batch_predict.plan_predictions(photos, model, kind, shards)
        if manifest := load_if_complete(asked, out):
            return manifest
        list(batch_predict.write_rows(asked, assign_shards(asked, index, workers), out, pool))
        return batch_predict.finalize(asked, out)

    return run


def read_csv(data: bytes) -> Rows:
    rows: Rows = list(csv.DictReader(io.StringIO(data.decode())))
    for row in rows:
        row["top5"] = json.loads(row["top5"])
        row["probability"] = float(row["probability"]) if row["probability"] else None
    return [{name: None if value == "" else value for name, value in row.items()} for row in rows]


READERS: dict[str, Callable[[bytes], Rows]] = {
    "parquet": lambda data: parquet.read_table(io.BytesIO(data)).to_pylist(),
    "csv": read_csv,
    "jsonl": lambda data: [json.loads(line) for line in data.splitlines()],
}


def rows_of(out: Store, kind: str) -> Rows:
    shards = load_manifest(out, batch_predict.FORMAT).splits["images"].shards
    return [row for shard in shards for row in READERS[kind](out.read(shard.key))]


NOBODY = """
import pwd, runpy, sys

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
sys.argv = ["predict", *sys.argv[1:]]
runpy.run_module("jobs.predict", run_name="__main__")
"""


def test_the_job_predicts_the_same_for_a_user_without_home_and_with_another_backend_of_keras(
    predict: Predict, photos: LocalStore, model: Path, tmp_path: Path
) -> None:
    predict(LocalStore(tmp_path / "expected"))
    keras_home = tmp_path / "keras"
    keras_home.mkdir()
    (keras_home / "keras.json").write_text(
        '{"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}'
    )
    kept = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME", "MPLCONFIGDIR")
    }
    odd = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(keras_home), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/m.db"}
    options = ["--model", str(model), "--images", photos.uri, "--out", f"{tmp_path}/out", "--format", "jsonl"]
    command = [sys.executable, "-c", NOBODY, *options]
    done = subprocess.run(command, env={**kept, **odd}, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rows_of(LocalStore(tmp_path / "out"), "jsonl") == rows_of(LocalStore(tmp_path / "expected"), "jsonl")
    for name in ("KERAS_BACKEND=torch is ignored", "keras.json is ignored", "has no home folder", "has no name"):
        assert name in done.stderr


@pytest.mark.parametrize("kind", WRITERS)
def test_each_photo_has_one_row_with_its_breed_or_its_error(kind: str, predict: Predict, store: Store) -> None:
    manifest = predict(store, kind)
    assert manifest is not None
    assert batch_predict.counts(manifest) == {"rows": 5, "errors": 1}
    rows = rows_of(store, kind)
    assert [list(row) for row in rows] == [SCHEMA.names] * 5
    assert {row["image"]: row["sha256"] for row in rows} == {
        key: sha256(data).hexdigest() for key, data in PHOTOS.items()
    }
    assert [row["image"] for row in rows] == sorted(PHOTOS)
    for row in rows:
        if row["image"] == "b/broken.jpg":
            assert row["error"] == "not an image of a known format"
            assert (row["class"], row["wordnet_id"], row["probability"], row["top5"]) == (None, None, None, [])
        else:
            assert row["error"] is None
            assert row["top5"][0] == {"class": row["class"], "probability": row["probability"]}
            assert sum(best["probability"] for best in row["top5"]) == pytest.approx(1, abs=1e-5)


def test_the_three_kinds_hold_the_same_rows(predict: Predict, tmp_path: Path) -> None:
    found = []
    for kind in WRITERS:
        out = LocalStore(tmp_path / kind)
        predict(out, kind)
        found.append(rows_of(out, kind))
    assert found[0] == found[1] == found[2]


def test_the_rows_are_what_the_served_model_answers(predict: Predict, model: Path, tmp_path: Path) -> None:
    out = LocalStore(tmp_path / "out")
    predict(out)
    loaded, card = model_files.load(model)
    answers = classifier.predict_rows(
        loaded, card, [classifier.preprocess(PHOTOS[key], card.view) for key in sorted(PHOTOS)]
    )
    assert [{name: row[name] for name in classifier.COLUMNS} for row in rows_of(out, "jsonl")] == answers


def test_exhausted_memory_of_a_device_is_78_with_what_to_do(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(classifier, "predict_rows", fail)
    with pytest.raises(EnvironmentUnsupported, match=r"batches of 64 images \(OOM.*; use the CPU") as caught:
        predict(LocalStore(tmp_path / "out"))
    assert caught.value.exit_code == 78


def content(out: Store) -> dict[str, bytes]:
    return {key: out.read(key) for key in out.list()}


def test_doing_it_again_and_in_three_workers_changes_nothing(predict: Predict, tmp_path: Path) -> None:
    one, three = LocalStore(tmp_path / "one"), LocalStore(tmp_path / "three")
    manifest = predict(one, shards=5)
    before = content(one)
    assert predict(one, shards=5) == manifest
    assert [predict(three, shards=5, index=index, workers=3) for index in (2, 0, 1)] == [None, None, manifest]
    assert content(one) == content(three) == before


def test_rows_that_were_lost_are_made_again(predict: Predict, tmp_path: Path) -> None:
    out = LocalStore(tmp_path / "out")
    predict(out)
    before = content(out)
    out.delete(next(key for key in before if key.startswith("shards/")))
    predict(out)
    assert content(out) == before


def test_other_photos_another_model_or_kind_need_another_place(
    predict: Predict, photos: LocalStore, model: Path, tmp_path: Path
) -> None:
    out = LocalStore(tmp_path / "out")
    predict(out)
    with pytest.raises(DataError, match="choose another --out"):
        predict(out, "csv")
    other = small_model()
    other.set_weights([weights + 1 for weights in other.get_weights()])
    model_files.save(
        other, model_files.ModelMetadata(CLASSES, SIZE, "squash", "dogbreed", "digest"), tmp_path / "other"
    )
    asked = batch_predict.plan_predictions(photos, tmp_path / "other", "jsonl", 2)
    with pytest.raises(DataError, match="choose another --out"):
        load_if_complete(asked, out)
    photos.put("d.jpg", PHOTOS["c.jpg"])
    with pytest.raises(DataError, match="choose another --out"):
        predict(out)


def test_a_dataset_is_no_place_for_rows_and_rows_are_no_dataset(
    predict: Predict, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="predictions 3"):
        predict(LocalStore(dataset))
    out = LocalStore(tmp_path / "out")
    predict(out)
    with pytest.raises(DataError, match="predictions 3"):
        load_manifest(out)


def replace_image(photos: LocalStore, key: str, data: bytes) -> None:
    """Put other bytes of equal length at a key, in another tick of the file system's clock."""
    assert len(data) == photos.size(key)
    time.sleep(0.02)
    photos.delete(key)
    photos.put(key, data)


def test_an_image_replaced_by_one_of_equal_length_is_not_taken_for_the_former_one(
    predict: Predict, photos: LocalStore, tmp_path: Path
) -> None:
    out = LocalStore(tmp_path / "out")
    predict(out)
    replace_image(photos, "b/broken.jpg", b"no image")
    with pytest.raises(DataError, match=r"changed since.*choose another --out"):
        predict(out)
    assert predict(LocalStore(tmp_path / "other")) is not None
    (row,) = (row for row in rows_of(LocalStore(tmp_path / "other"), "jsonl") if row["image"] == "b/broken.jpg")
    assert row["sha256"] == sha256(b"no image").hexdigest()


@pytest.mark.parametrize("kind", WRITERS)
def test_verification_names_the_images_that_are_not_those_of_their_rows(
    kind: str, predict: Predict, photos: LocalStore, model: Path, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    out = LocalStore(tmp_path / "out")
    manifest = predict(out, kind)
    assert manifest is not None
    asked = batch_predict.plan_predictions(photos, model, kind, 2)
    verify_rows(asked, manifest, [0, 1], out, pool)
    for key in ("a/black.jpg", "c.jpg"):  # with the length and time of the former ones: only reading tells
        file, data = tmp_path / "photos" / key, PHOTOS[key]
        before = file.stat()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert predict(out, kind) == manifest
    with pytest.raises(DataError, match=rf"2 images below {photos.uri} .*: a/black\.jpg, c\.jpg; choose") as error:
        verify_rows(asked, manifest, [0, 1], out, pool)
    assert error.value.exit_code == 65
    with pytest.raises(DataError, match=r"^1 image .*: a/black\.jpg;"):
        verify_rows(asked, manifest, [0], out, pool)  # one worker's share


def test_a_place_without_photos_is_said(tmp_path: Path, model: Path) -> None:
    empty = LocalStore(tmp_path / "empty")
    with pytest.raises(NotFound, match="does not exist; check --images"):
        batch_predict.plan_predictions(empty, model, "csv", None)
    empty.put("notes.txt", b"")
    with pytest.raises(NotFound, match=r"holds no image .* among 1 file;"):
        batch_predict.plan_predictions(empty, model, "csv", None)


def test_mlflow_has_one_run_with_rows_errors_and_rate(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    manifest = predict(LocalStore(tmp_path / "out"))
    assert manifest is not None
    for rate in (20.0, None):
        batch_predict.log_predictions("dogbreed", manifest, Ignored(), {"model": "models:/dogbreed/1"}, rate)
    (run,) = mlflow.MlflowClient().search_runs([runs.experiment("dogbreed", "predict")])
    assert run.data.metrics == {"rows": 5, "errors": 1, "ignored": 0, "images_per_second": 20}
    assert run.data.params == {"model": "models:/dogbreed/1"}
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tables/errors.csv") == (
        "image,reason\nb/broken.jpg,not an image of a known format\n"
    )


def test_mlflow_being_away_is_a_warning(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    manifest = predict(LocalStore(tmp_path / "out"))
    assert manifest is not None
    batch_predict.log_predictions("dogbreed", manifest, Ignored(), {}, None)
    assert "the predictions are complete, but their run in MLflow is not" in caplog.text


def test_other_files_are_counted_and_one_image_can_be_named(photos: LocalStore, model: Path) -> None:
    planned = batch_predict.plan_predictions(photos, model, "csv", None)
    assert [*planned.shards[0].images] == sorted(PHOTOS)
    assert planned.ignored.names == {NOT_AN_IMAGE: ["notes.txt"]}
    one = batch_predict.plan_predictions(photos, model, "csv", None, "c.jpg")
    assert [*one.shards[0].images] == ["c.jpg"]
    assert one.config_id != planned.config_id
