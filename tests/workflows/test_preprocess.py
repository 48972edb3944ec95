"""jobs.preprocess below its command line: shares of workers, dry run, garbage."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dogbreed.core.errors import ManifestNotFound
from dogbreed.core.storage import LocalStore
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import load_manifest
from dogbreed.workflows.preprocess import PreprocessJob, collect_garbage, dry_run, preprocess
from dogbreed.workflows.sharded_build import Worker


@pytest.fixture(autouse=True)
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow is unavailable, which is a warning."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield
    gc.unfreeze()  # a job freezes its objects, among which Hypothesis would then find no referrers


def job(sketches: Path, out: Path, worker: Worker, export: Path | None = None) -> PreprocessJob:
    return PreprocessJob(
        source="synthetic",
        raw=LocalStore(sketches),
        out=LocalStore(out),
        config=DatasetConfig(size=32, shards=4),
        labels=None,
        max_quarantined=0.0,
        max_ignored=0.0,
        worker=worker,
        export=LocalStore(export) if export else None,
    )


def test_the_last_of_two_workers_has_the_summary_and_the_export(sketches: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = preprocess(job(sketches, out, Worker(0, 2), tmp_path / "early"))
    assert first == {"manifest": None, "out": str(out)}
    assert not (tmp_path / "early").exists()
    last = preprocess(job(sketches, out, Worker(1, 2), tmp_path / "images"))
    manifest = load_manifest(LocalStore(out))
    assert last == {"manifest": f"{out}/manifest.json", **manifest.summary(), "ignored": 0, "ignored_by_reason": {}}
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 48
    assert preprocess(job(sketches, out, Worker())) == last
    assert collect_garbage(LocalStore(out)) == {"out": str(out), "deleted": 0}


def test_a_dry_run_writes_nothing(sketches: Path, tmp_path: Path) -> None:
    estimate = dry_run(job(sketches, tmp_path / "out", Worker()))
    assert estimate["splits"] == {"train": 28, "validation": 4, "test": 16}
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_garbage_of_a_dataset_that_is_not_complete_stays(tmp_path: Path) -> None:
    with pytest.raises(ManifestNotFound):
        collect_garbage(LocalStore(tmp_path))
