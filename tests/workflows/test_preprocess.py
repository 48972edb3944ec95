"""jobs.preprocess below its command line: shares of workers, dry run, garbage."""

import dataclasses
import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dogbreed.core.errors import DataError, ManifestNotFound
from dogbreed.core.storage import LocalStore
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import load_manifest
from dogbreed.workflows.preprocess import PreprocessJob, collect_garbage, dry_run, preprocess
from dogbreed.workflows.sharded_build import Worker
from tests.support.encoded_images import encoded, upper_white
from tests.support.other_data import write_tree


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
        experiment_prefix="dogbreed",
        config=DatasetConfig(size=32, shards=4),
        labels=None,
        max_quarantined=0.0,
        max_ignored=0.0,
        worker=worker,
        export=LocalStore(export) if export else None,
    )


def job_of_tree(folder: Path) -> PreprocessJob:
    config = DatasetConfig(size=32, split="stratified")
    return dataclasses.replace(job(folder / "raw", folder / "out", Worker()), source="image-folder", config=config)


def test_the_last_of_two_workers_has_the_summary_and_the_export(sketches: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = preprocess(job(sketches, out, Worker(0, 2), tmp_path / "early"))
    assert first == {"manifest": None, "out": str(out)}
    assert not (tmp_path / "early").exists()
    last = preprocess(job(sketches, out, Worker(1, 2), tmp_path / "images"))
    manifest = load_manifest(LocalStore(out))
    missing = {"validation": 0, "test": 0}
    ignored = {"ignored": 0, "ignored_by_reason": {}, "ignored_rows_by_reason": {}}
    expected = {"manifest": f"{out}/manifest.json", **manifest.summary(), "classes_without_images": missing, **ignored}
    assert last == expected
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 48
    assert preprocess(job(sketches, out, Worker())) == last
    assert collect_garbage(LocalStore(out)) == {"out": str(out), "deleted": 0}


def test_classes_without_validation_or_test_images_are_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"akita": 8, "beagle": 8, "collie": 1, "dhole": 2}
    write_tree(
        LocalStore(tmp_path / "raw"), [f"{name}/{n}.jpg" for name, count in counts.items() for n in range(count)]
    )
    asked = job_of_tree(tmp_path)
    dry_run(asked)
    assert "2 of 4 classes without test images, left out of macro averages: collie, dhole" in caplog.text
    for _ in ("new", "complete already"):
        caplog.clear()
        summary = preprocess(asked)
        assert summary["classes_without_images"] == {"validation": 2, "test": 2}  # type: ignore[typeddict-item]
        assert "2 of 4 classes without validation images, left out of macro averages: collie, dhole" in caplog.text


def test_one_class_only_is_refused_unless_it_was_selected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(LocalStore(tmp_path / "raw"), [f"akita/{n}.jpg" for n in range(8)])
    asked = job_of_tree(tmp_path)
    with pytest.raises(DataError, match="all images are of one class, akita"):
        preprocess(asked)
    selected = dataclasses.replace(asked.config, classes=("akita",))
    preprocess(dataclasses.replace(asked, config=selected))
    assert "one class only, jobs.train needs two or more: akita" in caplog.text


def test_a_source_without_test_images_is_accepted_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = [f"{split}/{name}/{n}.jpg" for split in ("train", "validation") for name in "ab" for n in range(3)]
    write_tree(LocalStore(tmp_path / "raw"), places)
    asked = job_of_tree(tmp_path)
    summary = preprocess(dataclasses.replace(asked, config=dataclasses.replace(asked.config, split="official")))
    assert summary["splits"] == {"train": 6, "validation": 6, "test": 0}  # type: ignore[typeddict-item]
    assert "evaluate with --split validation" in caplog.text


def test_a_split_without_images_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(LocalStore(tmp_path / "raw"), [f"{name}/{n}.jpg" for name in "ab" for n in range(2)])
    preprocess(job_of_tree(tmp_path))
    for split in ("validation", "test"):
        assert f"the dataset has no {split} images" in caplog.text


def test_a_dry_run_writes_nothing_not_even_a_database(
    sketches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/mlflow.db")
    estimate = dry_run(job(sketches, tmp_path / "out", Worker()))
    assert estimate["splits"] == {"train": 28, "validation": 4, "test": 16}
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_the_ignored_files_as_the_job_does(tmp_path: Path) -> None:
    raw = LocalStore(tmp_path / "raw")
    write_tree(raw, [f"{name}/{n}.jpg" for name in ("akita", "beagle") for n in range(8)])
    for key in ("akita/notes.txt", "beagle/.DS_Store", "about.md"):
        raw.put(key, b"no image")
    asked = job_of_tree(tmp_path)
    estimate, summary = dry_run(asked), preprocess(asked)
    assert estimate["ignored"] == 3
    assert estimate["ignored_by_reason"] == {
        "not an image": {"files": 2, "examples": ["about.md", "akita/notes.txt"]},
        "hidden or system file": {"files": 1, "examples": ["beagle/.DS_Store"]},
    }
    assert {name: summary[name] for name in ("ignored", "ignored_by_reason")} == {  # type: ignore[literal-required]
        name: estimate[name]
        for name in ("ignored", "ignored_by_reason")  # type: ignore[literal-required]
    }


def test_a_dry_run_names_the_images_that_it_cannot_decode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = LocalStore(tmp_path / "raw")
    write_tree(raw, [f"{name}/{n}.jpg" for name in ("akita", "beagle") for n in range(8)])
    raw.put("akita/cut.jpg", b"")
    with caplog.at_level("INFO"):
        estimate = dry_run(job_of_tree(tmp_path))
    assert (estimate["decoded"], estimate["quarantined"]) == (17, 1)
    assert "akita/cut.jpg cannot be used: empty file" in caplog.text
    assert "17 of 17 images decoded, duplicates not searched for" in caplog.text


def test_garbage_of_a_dataset_that_is_not_complete_stays(tmp_path: Path) -> None:
    with pytest.raises(ManifestNotFound):
        collect_garbage(LocalStore(tmp_path))


def placeholders(raw: Path, out: Path, **options: Any) -> PreprocessJob:
    """Write four classes of 50 copies of one placeholder and 10 different images each, and return a job for them."""
    random = np.random.default_rng(0)
    for label in range(4):
        folder = raw / f"class_{label}"
        folder.mkdir(parents=True)
        for number in range(50):
            (folder / f"copy_{number}.jpg").write_bytes(encoded(upper_white()))
        for number in range(10):
            (folder / f"{number}.jpg").write_bytes(encoded(random.integers(0, 256, (20, 30, 3), np.uint8)))
    config = DatasetConfig(size=16, split="stratified", **options)
    return PreprocessJob(
        source="image-folder", raw=LocalStore(raw), out=LocalStore(out), experiment_prefix="dogs", config=config,
        labels=None, max_quarantined=0.0, max_ignored=0.0, worker=Worker(), export=None,
    )  # fmt: skip


def test_a_placeholder_in_all_classes_moves_no_split_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dogbreed.data"):
        preprocess(placeholders(tmp_path / "raw", tmp_path / "out"))
    manifest = load_manifest(LocalStore(tmp_path / "out"))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {
        "train": 172,
        "validation": 20,
        "test": 48,
    }
    assert "class_0/copy_0.jpg (200 images)" in caplog.text
    assert len(manifest.to_json()) < 5000


def test_dropped_copies_are_counted_as_excluded(tmp_path: Path) -> None:
    summary = preprocess(placeholders(tmp_path / "raw", tmp_path / "out", duplicates="drop"))
    assert (summary["written"], summary["excluded"]) == (41, 199)  # type: ignore[typeddict-item]


def test_two_workers_find_the_same_groups(tmp_path: Path) -> None:
    alone = placeholders(tmp_path / "raw", tmp_path / "out")
    shared = PreprocessJob(**{**vars(alone), "out": LocalStore(tmp_path / "shared")})
    preprocess(alone)
    for index in (0, 1):
        preprocess(PreprocessJob(**{**vars(shared), "worker": Worker(index, 2)}))
    one, two = ({key: store.read(key) for key in store.list()} for store in (alone.out, shared.out))
    assert one == two
