"""Preprocess, train, evaluate, predict and compare, each in a process, on drawn photos, with a real MLflow server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas
import pytest

from dogbreed.tracking import runs
from tests.support.faults.proxy import proxy
from tests.support.golden.literals import assert_json
from tests.support.golden.runs import describe_model, describe_run, describe_summary, first_line
from tests.support.mlflow_gateway import BASIC, BEARER, NO_HEALTH, SECRET, USER, private_ca, require
from tests.support.servers import mlflow_server
from tests.support.warm_job import job as run_job

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1200)  # two dozen jobs beside other tests


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve MLflow on a free port, with SQLite behind it, and return its address."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="module")
def way(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the jobs once and return their summaries and the tracking URI."""
    home = tmp_path_factory.mktemp("way")

    job = partial(run_job, MLFLOW_TRACKING_URI=tracking)
    raw, data = str(home / "raw"), str(home / "data")
    listing = home / "train_cls.txt"
    listing.write_text("\n".join(f"n90000001/n90000001_{number} {number}" for number in range(1500)))
    (home / "raw" / "weights").mkdir(parents=True)
    (home / "raw" / "weights" / "mobilenetv2.weights.h5").write_bytes(b"fetched before")
    export = ("--export", str(home / "photos"))
    make, first = ("--source", "synthetic", "--raw", raw, "--size", "64"), ("--workers", "2", "--worker-index", "0")
    train = ("--data", data, "--recipe", "simple-64", "--epochs", "2", "--batch-size", "16", "--deterministic")
    return {
        "tracking": tracking,
        "fetch": job("fetch", "--source", "synthetic", "--classes", "3", "--per-class", "40", "--raw", raw),
        "fetch_weights": job("fetch", "--weights", "mobilenetv2", "--raw", raw),
        "preflight": job("preflight", "--store", str(home / "store")),
        "preprocess_plan": job("preprocess", *make, "--out", data, "--dry-run"),
        "preprocess_part": job("preprocess", *make, "--out", str(home / "part"), "--shards", "8", *first),
        "preprocess": job("preprocess", *make, "--out", data, *export),
        "preprocess_gc": job("preprocess", *make, "--out", data, "--gc"),
        "train": job("train", *train),
        "again": job("train", *train),
        "fresh": job("train", *train, "--restart"),
        "evaluate": job("evaluate", "--data", data),
        "evaluate_again": job("evaluate", "--data", data),
        "evaluate_parts": job("evaluate", "--data", data, "--tta", "flip", "--pretraining-list", str(listing)),
        "promote": job("evaluate", "--data", data, "--promote", "--restart"),
        "promote_again": job("evaluate", "--data", data, "--promote"),
        "predict": job("predict", "--images", str(home / "photos"), "--out", str(home / "rows.csv"), "--verify"),
        "predict_part": job(
            "predict", "--images", str(home / "photos"), "--out", str(home / "rows"), "--shards", "2", *first
        ),
        "compare": job("compare", "--data", data, "--out", str(home / "board")),
    }


GATEWAYS = {
    "login": ([require(BASIC)], {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": SECRET}),
    "token, no /health": ([NO_HEALTH, require(BEARER)], {"MLFLOW_TRACKING_TOKEN": SECRET}),
    "private CA": ([], {"MLFLOW_TRACKING_SERVER_CERT_PATH": "{folder}/ca.pem"}),
}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_runs_and_artifacts_reach_the_server_through_a_gateway(
    gateway: str, tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, variables = GATEWAYS[gateway]
    context = private_ca(tmp_path)[1] if gateway == "private CA" else None
    with proxy(tracking, rules, context) as (address, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(folder=tmp_path))
        assert runs.check_round_trip("dogbreed") == f"{address}: run, metric, artifact"


def test_preprocess_spares_the_import_of_keras(way: dict[str, Any]) -> None:
    data = Path(way["preprocess"]["manifest"]).parent
    options = ["--source", "synthetic", "--raw", way["fetch"]["raw"], "--out", str(data), "--size", "64"]
    code = f"""
import atexit, runpy, sys
atexit.register(lambda: print("keras" in sys.modules))
sys.argv = ["preprocess", *{options}]
runpy.run_module("jobs.preprocess", run_name="__main__")
"""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": way["tracking"]}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_every_photo_is_written_or_accounted_for(way: dict[str, Any]) -> None:
    summary = way["preprocess"]
    assert summary["written"] == 120
    assert summary["quarantined"] == summary["excluded"] == 0
    assert summary["splits"] == {"train": 66, "validation": 6, "test": 48}


def test_the_run_of_the_dataset_shows_counts_rate_tables_and_pictures(way: dict[str, Any]) -> None:
    client = mlflow.MlflowClient(way["tracking"])
    (run,) = client.search_runs([client.get_experiment_by_name("dogbreed/preprocess").experiment_id])
    assert run.data.metrics["images_train"] == 66
    assert run.data.metrics["images_per_second"] > 0
    artifacts = {e.path for folder in ("tables", "figures") for e in client.list_artifacts(run.info.run_id, folder)}
    assert artifacts == {
        "figures/classes.jpg",
        "figures/images_by_class.png",
        "tables/duplicates.csv",
        "tables/ignored.csv",
        "tables/images_by_class.csv",
        "tables/quarantine.csv",
        "tables/quarantine_by_reason.csv",
    }


def test_a_finished_training_is_not_repeated_unless_asked(way: dict[str, Any]) -> None:
    assert way["again"] == way["train"]
    assert way["fresh"]["run_id"] != way["train"]["run_id"]
    assert way["fresh"]["model_version"] == 2


def test_the_same_seed_gives_the_same_weights(way: dict[str, Any]) -> None:
    for name in ("weights_sha256", "optimizer_sha256", "val_top1"):
        assert way["fresh"][name] == way["train"][name]


def test_the_run_holds_metrics_by_epoch_dataset_pictures_and_model(way: dict[str, Any]) -> None:
    client = mlflow.MlflowClient(way["tracking"])
    run = client.get_run(way["fresh"]["run_id"])
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "val_top1")] == [1, 2]
    assert run.data.params["augment.hflip"] == "True"
    assert run.inputs.dataset_inputs[0].dataset.digest == way["preprocess"]["digest"][:36]
    figures = {Path(entry.path).stem for entry in client.list_artifacts(run.info.run_id, "figures")}
    assert figures == {
        "learning_curves",
        "confusion_matrix_best_val",
        "recall_by_class_best_val",
        "sample_predictions_best_val",
    }
    assert int(client.get_model_version_by_alias("dogbreed", "candidate").version) == 2


def test_evaluate_reports_the_scores_that_it_logged(way: dict[str, Any]) -> None:
    summary = way["evaluate"]
    logged = mlflow.MlflowClient(way["tracking"]).get_run(summary["run_id"]).data.metrics
    assert summary["images"] == 48
    assert {name: logged[f"test_{name}"] for name in ("top1", "top5", "macro_f1", "loss")} == {
        name: summary[name] for name in ("top1", "top5", "macro_f1", "loss")
    }


def test_an_evaluation_leaves_intervals_and_a_report_with_its_trainings_curves(way: dict[str, Any]) -> None:
    summary, client = way["evaluate"], mlflow.MlflowClient(way["tracking"])
    assert summary["top1_ci95_low"] <= summary["top1"] <= summary["top1_ci95_high"]
    assert summary["majority_baseline_top1"] == pytest.approx(1 / 3)
    assert {entry.path for entry in client.list_artifacts(summary["run_id"])} == {"figures", "tables", "report.html"}
    report = Path(client.download_artifacts(summary["run_id"], "report.html")).read_text()
    assert report.count('<img src="data:image/') == 9  # eight of the evaluation, and the learning curves
    assert way["fresh"]["run_id"] in report


def test_a_finished_evaluation_is_not_repeated_unless_asked(way: dict[str, Any]) -> None:
    assert way["evaluate_again"] == way["evaluate"]
    assert way["promote"]["run_id"] != way["evaluate"]["run_id"]  # with --restart
    scores = way["evaluate"].keys() - {"run_id"}
    assert {name: way["promote"][name] for name in scores} == {name: way["evaluate"][name] for name in scores}


def test_images_that_a_pretraining_may_have_seen_are_scored_apart(way: dict[str, Any]) -> None:
    parts = way["evaluate_parts"]
    assert (parts["seen_images"], parts["unseen_images"], parts["images"]) == (16, 32, 48)  # one class of three
    assert parts["top1"] == pytest.approx((parts["seen_top1"] + 2 * parts["unseen_top1"]) / 3)


def test_an_evaluation_with_other_settings_is_another_one(way: dict[str, Any]) -> None:
    assert way["evaluate_parts"]["run_id"] != way["evaluate"]["run_id"]
    assert way["evaluate_parts"]["loss"] != way["evaluate"]["loss"]  # --tta flip


def test_the_first_model_that_asks_becomes_champion_and_asking_again_changes_nothing(way: dict[str, Any]) -> None:
    summary, client = way["promote"], mlflow.MlflowClient(way["tracking"])
    assert (summary["promoted"], summary["champion"], summary["model"]) == (True, 2, "models:/dogbreed/2")
    assert summary["reason"].endswith("there was no champion")
    assert way["promote_again"] == summary
    version = client.get_model_version_by_alias("dogbreed", "champion")
    assert (int(version.version), version.tags["dogbreed.promotion"]) == (2, summary["reason"])
    assert f"| test | `{way['preprocess']['digest'][:12]}` | {summary['top1']:.1%} |" in version.description


def test_the_champion_gives_each_photo_a_row(way: dict[str, Any]) -> None:
    summary = way["predict"]
    assert (summary["rows"], summary["errors"]) == (120, 0)
    shards = list(Path(summary["out"]).glob("shards/*.csv"))
    rows = pandas.concat(pandas.read_csv(shard) for shard in shards)
    assert len(set(rows["image"])) == len(rows) == 120
    client = mlflow.MlflowClient(way["tracking"])
    (run,) = client.search_runs([client.get_experiment_by_name("dogbreed/predict").experiment_id])
    assert (run.data.params["model"], run.data.params["format"]) == ("models:/dogbreed/2", "csv")
    assert run.data.metrics["rows"] == 120


def test_the_leaderboard_has_a_row_for_each_tta_with_the_command_behind_it(
    way: dict[str, Any],
) -> None:
    summary = way["compare"]
    assert (summary["rows"], summary["best"]) == (2, "models:/dogbreed/2")  # --tta none and flip
    assert summary["top1"] == max(way["promote"]["top1"], way["evaluate_parts"]["top1"])
    text = Path(summary["out"], "leaderboard.md").read_text()
    assert "--recipe simple-64 --set epochs=2 --set batch_size=16`" in text


def test_each_summary_has_the_committed_keys(way: dict[str, Any]) -> None:
    repeated = {"again", "fresh", "evaluate_again", "promote_again"}
    jobs = way.keys() - repeated - {"tracking"}
    assert_json("summaries.json", {job: describe_summary(way[job]) for job in jobs})


@pytest.mark.parametrize(("job", "made_by"), [("train", "fresh"), ("evaluate", "promote")])
def test_the_runs_of_models_have_the_committed_names(job: str, made_by: str, way: dict[str, Any]) -> None:
    assert_json(f"run-{job}.json", describe_run(mlflow.MlflowClient(way["tracking"]), way[made_by]["run_id"]))


@pytest.mark.parametrize("job", ["preprocess", "predict"])
def test_the_runs_of_data_have_the_committed_names(job: str, way: dict[str, Any]) -> None:
    client = mlflow.MlflowClient(way["tracking"])
    (run,) = client.search_runs([client.get_experiment_by_name(f"dogbreed/{job}").experiment_id])
    assert_json(f"run-{job}.json", describe_run(client, run.info.run_id))


def test_registry_experiments_and_leaderboard_have_the_committed_names(
    way: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", way["tracking"])
    client, board = mlflow.MlflowClient(), Path(way["compare"]["out"])
    (registered,) = client.search_registered_models()
    model = mlflow.artifacts.download_artifacts("models:/dogbreed@champion", dst_path=str(tmp_path))
    found = {
        "experiments": sorted(experiment.name for experiment in client.search_experiments()),
        "registered model": registered.name,
        "aliases": sorted(registered.aliases),
        "tags of a champion": sorted(client.get_model_version_by_alias(registered.name, "champion").tags),
        "files of a model": describe_model(Path(model)),
        "leaderboard": sorted(path.name for path in board.iterdir()),
        "leaderboard.csv": first_line(board / "leaderboard.csv"),
    }
    assert_json("tracking.json", found)


def test_the_registered_model_names_the_breed_of_an_encoded_photo(way: dict[str, Any]) -> None:
    code = """
import base64, sys, mlflow, pandas, tensorflow as tf
from dogbreed.data.manifest import load_manifest
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.resize import ResizeSpec
from dogbreed.core.storage import open_store
from pathlib import Path
store = open_store(sys.argv[1])
photo = InputPipeline(load_manifest(store), store, ResizeSpec(64), 1, Path("unused")).first_jpeg()
model = mlflow.pyfunc.load_model("models:/dogbreed@candidate")
rows = model.predict(pandas.DataFrame({"image": [photo, photo]}))
assert list(rows.columns) == ["class", "wordnet_id", "probability", "top5", "error"] and len(rows) == 2, rows
assert rows["wordnet_id"].str.startswith("n9000000").all() and rows["probability"].between(0, 1).all(), rows
one = model.predict({"image": base64.b64encode(photo).decode()})
assert one["class"][0] == rows["class"][0] and one["error"].isna().all(), one
"""
    data = Path(way["preprocess"]["manifest"]).parent
    environment = {**os.environ, "MLFLOW_TRACKING_URI": way["tracking"]}
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
