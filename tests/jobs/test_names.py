"""A dataset's name, and that two datasets or two teams on one MLflow server never touch each other's runs or models."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_experiment_name, _validate_model_name

from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.names import is_valid_name
from dogbreed.core.storage import LocalStore, Store
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.raw import Source
from dogbreed.serving import classifier, model_files
from dogbreed.tracking import evaluation_outputs, leaderboard, registry, runs
from dogbreed.tracking.resumable_run import ResumableRun, Timeouts
from dogbreed.tracking.runs import TRAINING_RUN
from dogbreed.training.trainer import TrainResult
from dogbreed.workflows import evaluate, train
from tests.support.fake_trainer import Trainer
from tests.support.in_process import call
from tests.support.other_data import write_tree
from tests.support.registry import tiny

Preprocess = Callable[..., Manifest | None]
TRAIN = ("--recipe", "simple-64", "--set", "size=32", "--set", "epochs=1")


class Scores:
    """The result of an evaluation in which a quarter of the images is right."""

    images_per_second = 1.0
    predictions = SimpleNamespace(missing_classes=lambda split: None)

    def to_metrics(self) -> list[tuple[str, float]]:
        scores = {"top1": 0.25, "top1_ci95_low": 0.1, "top1_ci95_high": 0.5, "top5": 1.0, "macro_f1": 0.1, "loss": 1.0}
        return list(scores.items())

    def to_tables(self) -> dict[str, Any]:
        return {}

    def describe_baseline(self) -> str:
        return ""


@pytest.fixture(autouse=True)
def client(empty_database: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """An MLflow store of each test's own; nothing is trained, measured or drawn."""
    uri = f"sqlite:///{shutil.copy(empty_database, tmp_path)}"
    trainer = Trainer()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(train, "configure", lambda name: None)  # the log is pytest's
    monkeypatch.setattr(train, "ResumableRun", partial(ResumableRun, timeouts=Timeouts(start=60.0)))
    monkeypatch.setattr(train.trainer, "train", trainer.train)
    monkeypatch.setattr(train, "predict", trainer.predict)
    monkeypatch.setattr(train.training_outputs, "log_training", log_training)
    monkeypatch.setattr(classifier, "log_model", lambda *_: mlflow.create_external_model(name="model"))
    downloaded: list[str] = []

    def download(uri: str, folder: Path) -> Path:
        downloaded.append(uri)
        return model

    def training_run(folder: Path) -> dict[str, str]:
        name, number = registry.parse_version(downloaded[-1]) or ("", 0)
        return {TRAINING_RUN: str(mlflow.MlflowClient().get_model_version(name, str(number)).run_id)}

    monkeypatch.setattr(registry, "download", download)
    monkeypatch.setattr(evaluate.lineage, "tags", training_run)
    monkeypatch.setattr(evaluate.result, "evaluate", lambda *_: Scores())
    monkeypatch.setattr(evaluate, "evaluate_again", lambda *_: 0.25)
    monkeypatch.setattr(evaluation_outputs, "draw_figures", lambda *_: [])
    monkeypatch.setattr(evaluation_outputs.report, "note", lambda *_: "")
    monkeypatch.setattr(evaluation_outputs.report, "render", lambda *_: "")
    monkeypatch.setattr(leaderboard, "write", lambda *_: None)
    return mlflow.MlflowClient(uri)


def log_training(run: runs.Run, trained: TrainResult, *_: object) -> None:
    """Log what a summary needs."""
    run.log_metrics(0, {"best_val_top1": 0.25, "epochs": 1.0, **trained.resource_usage})
    hashes = {"weights_sha256": trained.weights_sha256, "optimizer_sha256": trained.optimizer_sha256}
    mlflow.set_tags({f"dogbreed.{name}": value for name, value in hashes.items()})


@pytest.fixture(scope="module")
def model(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on a dataset called pugs, downloaded."""
    folder = tmp_path_factory.mktemp("model")
    classes = load_manifest(LocalStore(dataset)).classes
    model_files.save(tiny(), model_files.ModelMetadata(classes, 32, "squash", "pugs", "0" * 64), folder)
    return folder


@pytest.fixture(scope="module")
def named(source: Source, preprocess: Preprocess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two datasets of the same images, of which only the names differ, in folders beside each other."""
    folder = tmp_path_factory.mktemp("named")
    for name in ("pugs", "pugs-2"):
        assert preprocess(source, LocalStore(folder / f"of-{name}"), name=name) is not None
    return {name: str(folder / f"of-{name}") for name in ("pugs", "pugs-2")}


def aliases(client: mlflow.MlflowClient) -> dict[str, dict[str, int]]:
    """Return the aliases of each registered model with their versions."""
    found = client.search_registered_models()
    return {model.name: {alias: int(version) for alias, version in model.aliases.items()} for model in found}


def runs_by_experiment(client: mlflow.MlflowClient) -> dict[str, list[Any]]:
    """Return the runs of each experiment that has any."""
    found = {e.name: list(client.search_runs([e.experiment_id])) for e in client.search_experiments()}
    return {name: members for name, members in found.items() if members}


def test_two_datasets_on_one_server_touch_no_run_candidate_or_champion_of_each_other(
    named: dict[str, str], client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    pugs, others = ("--data", named["pugs"]), ("--data", named["pugs-2"])
    nightly = (*TRAIN, "--name", "nightly")  # the same job key
    assert call("train", *pugs, *nightly)["registered_model"] == "pugs"
    assert call("train", *others, *nightly)["registered_model"] == "pugs-2"
    assert aliases(client) == {"pugs": {"candidate": 1}, "pugs-2": {"candidate": 1}}

    promoted = call("evaluate", *pugs, "--promote")
    assert (promoted["model"], promoted["promoted"]) == ("models:/pugs/1", True)
    call("train", *pugs, *TRAIN, "--seed", "1")
    assert aliases(client) == {"pugs": {"candidate": 2, "champion": 1}, "pugs-2": {"candidate": 1}}

    promoted = call("evaluate", *others, "--promote")
    assert (promoted["model"], promoted["reason"][-21:]) == ("models:/pugs-2/1", "there was no champion")
    of_others = client.get_model_version("pugs-2", "1")
    assert call("evaluate", *pugs, "--promote", "--force")["champion"] == 2
    call("train", *pugs, *nightly)  # is done, becomes the candidate again
    assert aliases(client) == {"pugs": {"candidate": 1, "champion": 2}, "pugs-2": {"candidate": 1, "champion": 1}}
    unchanged = client.get_model_version("pugs-2", "1")
    assert (unchanged.description, unchanged.tags) == (of_others.description, of_others.tags)

    found = runs_by_experiment(client)
    assert {name: len(members) for name, members in found.items()} == {
        "pugs/train": 2,
        "pugs/evaluate": 2,
        "pugs-2/train": 1,
        "pugs-2/evaluate": 1,
    }
    for name in named:
        digest = load_manifest(LocalStore(Path(named[name]))).digest
        own = found[f"{name}/train"] + found[f"{name}/evaluate"]
        assert {(run.data.tags[runs.DIGEST], run.data.params["data.name"]) for run in own} == {(digest, name)}
    assert call("compare", *pugs, "--out", str(tmp_path / "board"))["rows"] == 2
    assert call("compare", *others, "--out", str(tmp_path / "board"))["best"] == "models:/pugs-2/1"


def test_two_teams_with_one_dataset_have_their_own_runs_and_models(
    named: dict[str, str], client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    data, team = ("--data", named["pugs"]), ("--registered-model", "b.model", "--experiment-prefix", "team-b")
    checkpoints = ("--checkpoints", str(tmp_path / "checkpoints"))
    first = call("train", *data, *TRAIN, *checkpoints)
    second = call("train", *data, *TRAIN, *checkpoints, *team)
    assert first["run_id"] != second["run_id"]
    call("evaluate", *data, *team, "--promote")
    assert aliases(client) == {"pugs": {"candidate": 1}, "b.model": {"candidate": 1, "champion": 1}}
    assert set(runs_by_experiment(client)) == {"pugs/train", "team-b/train", "team-b/evaluate"}

    card = client.get_model_version("pugs", "1").description
    measured = call("evaluate", *data, *team, "--model", "models:/pugs/1")
    assert measured["model"] == "models:/pugs/1"
    assert client.get_model_version("pugs", "1").description == card  # the other team's
    with pytest.raises(UsageError, match=r"moves the champion of b\.model"):
        call("evaluate", *data, *team, "--model", "models:/pugs/1", "--promote")
    with pytest.raises(UsageError, match=r"no finished evaluation on test of .* in experiment pugs/evaluate"):
        call("compare", *data, "--out", str(tmp_path / "board"))
    with pytest.raises(UsageError, match="in experiment nobody/evaluate"):
        call("compare", "--experiment-prefix", "nobody", "--out", str(tmp_path / "board"))
    assert client.get_experiment_by_name("nobody/evaluate") is None  # asking creates none
    assert call("compare", *data, *team[2:], "--out", str(tmp_path / "board"))["rows"] == 2
    with pytest.raises(DataError, match=r"is version 1 of pugs, not of c\.model; use --registered-model pugs"):
        call("train", *data, *TRAIN, *checkpoints, "--registered-model", "c.model")
    assert "c.model" not in aliases(client)

    images = LocalStore(tmp_path / "images")
    write_tree(images, ["a.jpg", "b.jpg"])
    call("predict", "--images", str(images.root), "--out", str(tmp_path / "rows.csv"), *team[:2])
    (run,) = runs_by_experiment(client)["pugs/predict"]  # by default the name of the model's dataset
    assert run.data.params["model"] == "models:/b.model/1"


@pytest.mark.parametrize(
    ("options", "name", "experiment"),
    [
        ((), "dogbreed", "dogbreed/preprocess"),
        (("--name", "my-dogs"), "my-dogs", "my-dogs/preprocess"),
        (("--name", "my-dogs", "--experiment-prefix", "team-b"), "my-dogs", "team-b/preprocess"),
    ],
)
def test_a_dataset_is_named_by_an_option_and_never_by_its_place(
    options: tuple[str, ...],
    name: str,
    experiment: str,
    sketches: Path,
    client: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    raw, out = ("--raw", str(sketches)), ("--out", str(tmp_path / "somewhere"))
    assert call("preprocess", "--source", "synthetic", *raw, *out, "--size", "32", *options)["name"] == name
    manifest = load_manifest(LocalStore(tmp_path / "somewhere"))
    assert manifest.name == name
    ((found, (run,)),) = runs_by_experiment(client).items()
    assert (found, run.data.params["name"], run.inputs.dataset_inputs[0].dataset.name) == (experiment, name, name)


def test_images_of_ones_own_need_a_name_and_the_folders_is_suggested(store: Store, tmp_path: Path) -> None:
    raw, out = ("--raw", f"{store.uri}/Meine Hunde/"), ("--out", str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"--name Meine-Hunde$") as refused:
        call("preprocess", "--source", "image-folder", *raw, *out)
    assert refused.value.exit_code == 2
    with pytest.raises(DataError):  # it is empty, but named
        call("preprocess", "--source", "image-folder", "--name", "own", *raw, *out)
    assert (
        call("preprocess", "--source", "image-folder", *raw, "--out", named_dataset(tmp_path), "--gc")["deleted"] == 0
    )


def named_dataset(folder: Path) -> str:
    """Return the place of an empty dataset."""
    manifest = Manifest(3, "own", {}, "source", {}, ("a",), {}, (), {}, ())
    LocalStore(folder / "complete").commit("manifest.json", manifest.to_json())
    return str(folder / "complete")


def test_another_name_at_the_same_place_is_refused_and_the_present_one_named(
    named: dict[str, str], source: Source, preprocess: Preprocess
) -> None:
    with pytest.raises(DataError, match=r"under the name pugs, "):
        preprocess(source, LocalStore(Path(named["pugs"])), name="poodles")


@pytest.mark.parametrize(
    ("job", "option"),
    [("preprocess", "--name"), ("train", "--registered-model"), ("evaluate", "--experiment-prefix"),
     ("predict", "--registered-model"), ("compare", "--experiment-prefix"), ("preflight", "--experiment-prefix")],
)  # fmt: skip
def test_a_name_that_mlflow_or_a_path_would_misread_is_refused(job: str, option: str) -> None:
    with pytest.raises(click.BadParameter, match=r"'\.\./x' must be 1 to 100 letters"):
        call(job, option, "../x")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True))
def test_mlflow_accepts_every_valid_name(name: str) -> None:
    assert is_valid_name(name)
    _validate_model_name(name)
    _validate_experiment_name(f"{name}/preprocess")
