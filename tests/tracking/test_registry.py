"""The registry on a real SQLite store: a model is registered once, found by alias, and downloaded whole."""

from collections.abc import Callable
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from dogbreed.core.errors import RetryableError, UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.serving import classifier, model_files
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.tracking import registry, runs
from tests.support.encoded_images import encoded, flat
from tests.support.registry import tiny


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def model() -> keras.Model:
    return tiny()


@pytest.fixture
def metadata(dataset: Path) -> ModelMetadata:
    manifest = load_manifest(LocalStore(dataset))
    return ModelMetadata(manifest.classes, 32, "squash", "dogbreed", manifest.digest)


@pytest.fixture
def register(model: keras.Model, metadata: ModelMetadata) -> Callable[[], int]:
    """Register a tiny model in the active run."""
    return lambda: registry.register(
        "dogbreed", lambda: str(classifier.log_model(model, metadata, encoded(flat(0))).model_id)
    )


def test_an_alias_is_resolved_to_its_version_whose_download_is_the_model(
    register: Callable[[], int], model: keras.Model, metadata: ModelMetadata, tmp_path: Path
) -> None:
    with runs.start_run("dogbreed", "train", "test", {}, {}) as run:
        registry.set_candidate_alias("dogbreed", register())
    assert runs.get_run(run.id).data.tags["dogbreed.model_version"] == "1"
    uri = registry.resolve("models:/dogbreed@candidate")
    assert (uri, registry.parse_version(uri)) == ("models:/dogbreed/1", ("dogbreed", 1))
    loaded, found = model_files.load(registry.download(uri, tmp_path / "model"))
    assert found == metadata
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
    logged = mlflow.MlflowClient().get_model_version("dogbreed", "1").source
    assert logged.startswith("models:/m-"), "the model_uri that jobs.train prints"
    for other in (logged, f"runs:/{run.id}/model"):
        assert model_files.load(registry.download(other, tmp_path / "other"))[1] == metadata


def test_a_model_in_a_folder_of_any_name_is_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("model", "model#1", "100%?"):
        (tmp_path / name).mkdir()
        for uri in (f"{tmp_path}/{name}", f"~/{name}", (tmp_path / name).as_uri()):
            assert registry.download(uri, tmp_path / "scratch") == tmp_path / name
    for uri in ("model#2", "~/no-model", f"file://{tmp_path}/model#1"):
        with pytest.raises(UsageError, match="model"):
            registry.download(uri, tmp_path / "scratch")


def test_a_model_that_mlflow_refuses_is_retryable(register: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: object) -> None:
        raise MlflowException("away")

    monkeypatch.setattr(mlflow.pyfunc, "log_model", away)
    with runs.start_run("dogbreed", "train", "test", {}, {}), pytest.raises(RetryableError, match="away"):
        register()


def test_registering_again_after_any_interruption_gives_one_version(
    register: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow.MlflowClient()

    def interrupt(*_: object, **__: object) -> None:
        raise MlflowException("interrupted")

    with runs.start_run("dogbreed", "train", "test", {}, {}) as run:
        for target, method in (
            (mlflow.MlflowClient, "finalize_logged_model"),
            (mlflow, "register_model"),
            (mlflow, "set_tags"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(target, method, interrupt)
                with pytest.raises(RetryableError, match="interrupted"):
                    register()
        assert (register(), register()) == (1, 1)
    (version,) = client.search_model_versions("name = 'dogbreed'")
    (logged,) = client.search_logged_models([runs.experiment("dogbreed", "train")])
    assert version.run_id == run.id
    assert version.source == f"models:/{logged.model_id}"


def test_a_missing_champion_is_reported_with_the_candidate_and_how_to_promote_it() -> None:
    client = mlflow.MlflowClient()
    client.create_registered_model("dogbreed")
    client.create_model_version("dogbreed", "nowhere")
    with pytest.raises(UsageError, match="no model") as error:
        registry.resolve("models:/dogbreed@champion")
    assert "--promote" not in str(error.value), "there is nothing to promote"
    registry.set_candidate_alias("dogbreed", 1)
    with pytest.raises(UsageError, match=r"candidate is version 1; .*models:/dogbreed@candidate --promote"):
        registry.resolve("models:/dogbreed@champion")
    with pytest.raises(UsageError, match="no model"):
        registry.resolve("models:/cats@champion")


@pytest.mark.parametrize("uri", ["runs:/1/model", "models:/other/new", "models:/dogbreed@champion", "folder"])
def test_other_uris_name_no_version(uri: str) -> None:
    assert registry.parse_version(uri) is None
    assert registry.is_tracked(uri) is (uri != "folder")
