"""What each job reserves of several GPUs, and that it does so before TensorFlow initializes them."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from dogbreed.core.storage import LocalStore
from dogbreed.training.distributed import DistributedContext
from dogbreed.workflows import evaluate, gpu_memory, predict, preflight, train_job
from dogbreed.workflows.sharded_build import Worker
from tests.support.gpus import fake_gpus

GROWTH = ["grow GPU:0", "grow GPU:1"]


class Stop(Exception):
    """Ends a job at its checks, which initialize the devices."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is set for two faked GPUs, in order, up to the checks of the job."""
    found = list[str]()
    fake_gpus(monkeypatch, (9, 0), (9, 0))

    def name(gpu: Any) -> str:
        return str(gpu.name).removeprefix("/physical_device:")

    def check(*_: Any, **__: Any) -> None:
        found.append("checks")
        raise Stop

    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: found.append(f"grow {name(gpu)}" if on else "fix")
    )
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda gpus, kind: found.append(f"use {kind} {[name(gpu) for gpu in gpus]}")
    )
    monkeypatch.setattr(preflight, "before_job", check)
    return found


def test_an_evaluation_grows_its_memory(calls: list[str], dataset: Path) -> None:
    options = evaluate.EvalOptions(
        model=None, registered_model=None, experiment_prefix=None, data=str(dataset), split="test", tta="none",
        compare_with=None, imagenet_baseline=None, pretraining_list=None, batch_size=8, gpus=None, restart=False,
    )  # fmt: skip
    with pytest.raises(Stop):
        evaluate.open_job(options)
    assert calls == [*GROWTH, "checks"]


def test_a_prediction_grows_its_memory(calls: list[str], tmp_path: Path) -> None:
    job = predict.PredictJob(
        model="unused", images=LocalStore(tmp_path), only=None, max_ignored=0.01, out=LocalStore(tmp_path),
        experiment_prefix=None, kind="csv", shards=None, worker=Worker(), gpus=None, verify=False,
    )  # fmt: skip
    with pytest.raises(Stop):
        predict.predict(job)
    assert calls == [*GROWTH, "checks"]


@pytest.mark.parametrize(("resolved", "reserved"), [("single", ["use GPU ['GPU:0']"]), ("mirrored", [])])
def test_a_training_on_one_device_reserves_the_first_gpu_and_one_on_several_all(
    resolved: str, reserved: list[str], calls: list[str], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_job, "resolve_strategy", lambda *_: DistributedContext(resolved))
    job = train_job.prepare(
        data=str(dataset), registered_model=None, experiment_prefix=None, recipe="simple-64", initial_weights=None,
        settings=(), strategy="auto", gpus=None, checkpoints="unused", checkpoint_every="1h", log_every=0,
        restart=False, deterministic=False, profile=False, one_seed=True,
    )  # fmt: skip
    with pytest.raises(Stop), job:
        pass
    assert calls == [*reserved, "checks"]


@pytest.mark.usefixtures("calls")
def test_devices_that_are_in_use_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[str]()

    def fail(*arguments: Any) -> None:
        tried.append(str(arguments[-1]))
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", fail)
    monkeypatch.setattr(tf.config, "set_visible_devices", fail)
    gpu_memory.enable_memory_growth()
    gpu_memory.use_first_gpu()
    assert tried[-1] == "GPU", "both settings were tried"
    assert "True" in tried
