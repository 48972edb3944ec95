"""Jobs that would overfill the volume of their scratch files end with 78 before they write anything to it."""

import http.server
import os
import threading
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import mlflow
import pytest

from dogbreed.core.scratch import SCRATCH_LIMIT
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.data.manifest import MANIFEST, load_manifest
from dogbreed.serving import classifier, model_files
from dogbreed.tracking import registry, runs
from tests.support.encoded_images import encoded, flat
from tests.support.registry import tiny
from tests.support.warm_job import run

LARGE = 5 << 30  # bytes


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scratch folder of the jobs, of at most 1 GiB; MLflow is an SQLite file elsewhere."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return folder


def run_limited(scratch: Path, job: str, *options: str) -> CompletedProcess[str]:
    return run(f"jobs.{job}", *options, TMPDIR=str(scratch), **{SCRATCH_LIMIT: "1Gi"})


def assert_refused(done: CompletedProcess[str], scratch: Path) -> None:
    assert done.returncode == 78, done.stderr
    assert "5,184 MiB of scratch space are needed, 1,02" in done.stderr, done.stderr
    assert f"left in {scratch}, whose limit is 1Gi; raise the sizeLimit" in done.stderr
    assert not [path for path in scratch.rglob("*") if path.is_file() and path.stat().st_size]


def test_train_copies_no_shard_of_a_dataset_that_is_too_large(dataset: Path, bucket: str, scratch: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    train = manifest.split("train")
    large = replace(train, shards=(replace(train.shards[0], bytes=LARGE), *train.shards[1:]))
    other = replace(manifest, splits={**manifest.splits, "train": large})
    open_store(bucket).put(MANIFEST, other.to_json())
    settings = ("--set", "model=simple", "--set", "size=16", "--batch-size", "8", "--epochs", "1")
    options = ("--data", bucket, "--recipe", "simple-64", *settings, "--checkpoints", f"{bucket}/checkpoints")
    assert_refused(run_limited(scratch, "train", *options), scratch)


def test_predict_downloads_no_model_that_is_too_large(dataset: Path, scratch: Path, tmp_path: Path) -> None:
    manifest = load_manifest(LocalStore(dataset))
    metadata = model_files.ModelMetadata(manifest.classes, 32, "squash", "dogbreed", manifest.digest)
    with runs.start_run("dogbreed", "train", "test", {}, {}):
        image = encoded(flat(0))
        registry.register("dogbreed", lambda: str(classifier.log_model(tiny(), metadata, image).model_id))
        uri = mlflow.MlflowClient().get_model_version_download_uri("dogbreed", "1")
    os.truncate(model_files.model_path(Path(mlflow.artifacts.download_artifacts(uri))), LARGE)
    (tmp_path / "images").mkdir()
    options = ("--images", str(tmp_path / "images"), "--model", "models:/dogbreed/1", "--out", str(tmp_path / "out"))
    assert_refused(run_limited(scratch, "predict", *options), scratch)


class LargeArchives(http.server.BaseHTTPRequestHandler):
    """Announces 5 GiB whatever it is asked for, and sends a block of them."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(LARGE))
        self.end_headers()
        self.wfile.write(bytes(1 << 20))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_fetch_downloads_no_archive_that_is_too_large(scratch: Path, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), LargeArchives) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_address[1]}"
        options = ("--source", "stanford-dogs", "--from", origin, "--raw", str(tmp_path / "raw"))
        assert_refused(run_limited(scratch, "fetch", *options), scratch)
        server.shutdown()
