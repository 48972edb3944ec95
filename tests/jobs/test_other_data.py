"""A user's own tree and a CIFAR-shaped archive go through preprocess, train and evaluate as separate processes."""

from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.data.raw.cifar import LAYOUTS
from tests.support.other_data import cifar_archive, write_tree
from tests.support.warm_job import job as warm_job


def write_cifar(raw: LocalStore) -> None:
    raw.put(LAYOUTS["cifar10"].archive, cifar_archive("cifar10", per_class=8))


def write_images(raw: LocalStore) -> None:
    write_tree(raw, [f"{part}/{breed}/{n}.jpg" for part, count in (("train", 60), ("test", 20))
                     for breed in ("Pug", "Collie", "Borzoi") for n in range(count)])  # fmt: skip


@pytest.mark.parametrize(
    ("source", "write", "images", "recipe"),
    [
        pytest.param("cifar10", write_cifar, 480, "cifar10-resnet", marks=pytest.mark.long),
        ("image-folder", write_images, 240, "synthetic-64"),
    ],
)
def test_other_data_go_the_same_way(source: str, write: Any, images: int, recipe: str, tmp_path: Path) -> None:
    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    raw, data = str(tmp_path / "raw"), str(tmp_path / "data")
    write(LocalStore(Path(raw)))

    job = partial(warm_job, MLFLOW_TRACKING_URI=tracking)
    made = job("preprocess", "--source", source, "--name", "own", "--raw", raw, "--out", data, "--size", "32")
    assert made["written"] == images
    settings = ("--batch-size", "16", "--epochs", "12", "--set", "patience=12", "--set", "size=32")
    trained = job("train", "--data", data, "--recipe", recipe, *settings)
    history = mlflow.MlflowClient(tracking).get_metric_history(trained["run_id"], "top1")
    assert max(point.value for point in history) >= 0.9
    assert job("evaluate", "--data", data)["top1"] >= 0.9
