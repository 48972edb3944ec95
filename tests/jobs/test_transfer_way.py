"""Several seeds in one command, then a model that begins with one of theirs, as separate processes with SQLite."""

import hashlib
import json
from pathlib import Path

import keras
import mlflow
import pytest

from tests.support.golden.literals import assert_json
from tests.support.golden.runs import describe_run, describe_summary
from tests.support.warm_job import job

pytestmark = pytest.mark.timeout(900)  # three jobs beside other tests


def candidate() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias("dogbreed", "candidate").version)


def test_seeds_and_then_transfer(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")  # for the jobs and for this test
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")  # jobs end before the usual 10 s
    settings = ("--set", "model=simple", "--set", "size=16", "--batch-size", "8", "--epochs", "2")
    train = ("--data", str(dataset), "--recipe", "simple-64", *settings)

    seeds = job("train", *train, "--seeds", "0,1")
    children = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`mlflow.parentRunId` = '{seeds['run_id']}'",
        output_format="list",
    )
    scores = [run.data.metrics["best_val_top1"] for run in children]
    assert sorted(run.data.params["seed"] for run in children) == ["0", "1"]
    assert seeds["mean_val_top1"] == pytest.approx(sum(scores) / 2)
    assert (seeds["min_val_top1"], seeds["max_val_top1"]) == (min(scores), max(scores))
    for name in ("input_wait_fraction", "images_per_second", "cpu_hours", "system/cpu_utilization_percentage"):
        assert all(run.data.metrics[name] >= 0 for run in children)
    best = [run for run in children if run.data.metrics["best_val_top1"] == max(scores)]  # both, where they are even
    assert seeds["model_version"] in [int(run.data.tags["dogbreed.model_version"]) for run in best]
    assert seeds["model_version"] == candidate()
    assert sorted(seeds["child_runs"]) == sorted(run.info.run_id for run in children)
    assert_json("summary-seeds.json", describe_summary(seeds))
    assert_json("run-seeds.json", describe_run(mlflow.MlflowClient(), seeds["run_id"]))
    fingerprints = [mlflow.get_run(run).data.tags["dogbreed.job_fingerprint"] for run in seeds["child_runs"]]
    fingerprint = mlflow.get_run(seeds["run_id"]).data.tags["dogbreed.job_fingerprint"]  # the default job key
    assert fingerprint == hashlib.sha256(json.dumps(fingerprints, indent=1).encode()).hexdigest()[:16]

    first = f"models:/dogbreed/{seeds['versions'][0]}"
    begun = job("train", *train, "--weights", first, "--set", "head.epochs=2")
    assert begun["model_version"] == candidate()
    taught = job("train", *train, "--teacher", first, "--set", "distillation.views=1")
    found = mlflow.get_run(taught["run_id"])
    assert found.data.params["distillation.teacher"] == found.data.tags["dogbreed.teacher"] == first
    assert len(found.data.tags["dogbreed.teacher_sha256"]) == 64
    assert found.data.tags["dogbreed.teacher_run"] in seeds["child_runs"]
    assert found.data.tags["dogbreed.teacher_weights"] == "none"
    assert "and so was its teacher" in mlflow.artifacts.load_text(f"{found.info.artifact_uri}/model_card.md")
    assert job("train", *train, "--seeds", "0,1") == seeds
    assert seeds["model_version"] == candidate()

    run = mlflow.get_run(begun["run_id"])
    assert begun["epochs"] == 4
    assert len(run.data.tags["dogbreed.init_weights_sha256"]) == 64
    assert_json("run-fine-tuned.json", describe_run(mlflow.MlflowClient(), begun["run_id"]))

    model = Path(mlflow.artifacts.download_artifacts(begun["model_uri"])) / "artifacts" / "model.keras"
    assert keras.models.load_model(model).output_shape == (None, 4)  # by Keras alone, without the suite
