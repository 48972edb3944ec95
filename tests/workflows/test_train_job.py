"""The teacher of a training job: fetched, compared with the dataset, named in run and job key."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.serving import model_files
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.training.checkpointer import CheckpointInterval
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe, with_distillation
from dogbreed.workflows import train
from dogbreed.workflows.train_job import TrainJob, with_teacher
from tests.support.registry import register, tiny

MakeJob = Callable[..., TrainJob]


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    """A teacher in a folder."""
    manifest = load_manifest(LocalStore(dataset))
    model_files.save(tiny(), ModelMetadata(manifest.classes, 32, "pad", "dogbreed", manifest.digest), tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def make_job(dataset: Path, tmp_path: Path) -> MakeJob:
    def make(teacher: Path | str | None, *settings: str) -> TrainJob:
        store, recipe = LocalStore(dataset), get_recipe("simple-64")
        recipe = with_distillation(recipe, str(teacher)) if teacher else recipe
        return TrainJob(
            recipe=apply_overrides(recipe, ["size=16", "batch_size=8", *settings]),
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

    return make


def test_a_teacher_has_its_own_size_and_resize_mode_and_is_named_in_the_run(
    folder: Path, make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    job = with_teacher(make_job(folder))
    assert job.teacher is not None
    assert (job.teacher.view.size, job.teacher.view.mode) == (32, "pad")
    described = train.describe(job, 0, "f", "k")
    assert described.params["distillation.teacher"] == described.tags["dogbreed.teacher"] == str(folder)
    assert described.tags["dogbreed.teacher_sha256"] == job.teacher.sha256
    assert described.tags["dogbreed.teacher_dataset"] == job.manifest.digest
    assert "dogbreed.teacher_run" not in described.tags
    assert "not in this MLflow" in caplog.text
    assert job.fingerprint(0) != make_job(None).fingerprint(0)


def test_a_teacher_with_other_classes_or_another_order_is_refused(folder: Path, make_job: MakeJob) -> None:
    job = make_job(folder)
    first, *others = job.manifest.classes
    difference = rf"the teacher \(yak\) .* the dataset \({first}\)"
    for classes, message in (((*others, first), "another order"), (("yak", *others), difference)):
        metadata = ModelMetadata(tuple(classes), 32, "squash", "dogbreed", job.manifest.digest)
        model_files.save(tiny(), metadata, folder)
        with pytest.raises(DataError, match=message):
            with_teacher(job)


def test_a_teacher_that_is_larger_than_the_images_is_refused(folder: Path, make_job: MakeJob) -> None:
    job = make_job(folder)
    small = dataclasses.replace(job.manifest, config={**job.manifest.config, "size": 16})
    with pytest.raises(DataError, match=r"the teacher .* 32 px requested, the dataset has 16 px"):
        with_teacher(dataclasses.replace(job, manifest=small))


def test_settings_of_a_teacher_need_one_and_candidate_is_none(
    make_job: MakeJob, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="need a --teacher"):
        with_teacher(make_job(None, "distillation.views=2"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    version = register(dataset)
    mlflow.MlflowClient().set_registered_model_alias("dogbreed", "candidate", str(version))
    with pytest.raises(UsageError, match=f"--teacher .* name a version, models:/dogbreed/{version}"):
        with_teacher(make_job("models:/dogbreed@candidate"))
