"""What a stopped training keeps in a store, and the hashes that name a training."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.canonical_json import dumps
from dogbreed.core.errors import UsageError
from dogbreed.core.lease import Lease
from dogbreed.core.storage import LocalStore
from dogbreed.tracking.metric_spool import MetricSpool
from dogbreed.tracking.runs import flatten_params
from dogbreed.training import state
from dogbreed.training.checkpoint import CheckpointManager, Snapshot
from dogbreed.training.optimizer import make_optimizer
from dogbreed.training.recipe import apply_overrides, job_fingerprint
from dogbreed.training.recipes import RECIPES, get_recipe, recipe_for_weights, with_distillation
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import TrainState
from tests.support.golden.literals import assert_json, assert_text, read_json, read_literal

CONTENT = "0123456789abcdef"  # the default job key of what is trained
STATE = TrainState(
    phase=1,
    epoch=1,
    epoch_step=2,
    global_step=7,
    history=[{"epoch": 1, "loss": 0.1 + 0.2, "val_top1": 0.25}, {"epoch": 2, "loss": 1e-05, "val_top1": 0.5}],
    phase_starts=[0, 1],
    metric_sums={"loss": [1.5, 3.0], "top1": [1.0, 3.0], "top5": [2.0, 3.0]},
    logged_sums={"loss": [0.5, 1.0], "top1": [0.0, 1.0], "top5": [1.0, 1.0]},
    epoch_seconds=12.5,
    input_wait_seconds=0.125,
    resource_usage={"train_seconds": 60.0, "cpu_hours": 0.01, "peak_rss_mb": 900.0},
)
ARRAYS = {"model/0": np.array([[1.0, -2.5]], np.float32), "optimizer/0": np.array(7), "best/0": np.ones(1, np.float32)}
FOLDER = "00000007-3-1"  # step, lease, number


def test_state_of_a_training() -> None:
    assert_text("state.json", dumps(STATE.to_dict()).decode())
    assert TrainState.from_dict(read_json("state.json")) == STATE
    assert_text("state-new.json", dumps(TrainState().to_dict()).decode())


def test_a_checkpoint_is_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    CheckpointManager(store, CONTENT, 3).save(Snapshot(STATE, ARRAYS, read_literal("spool")))
    names = ("COMMIT.json", "spool", "state.json", "training.npz")
    assert sorted(store.list()) == [f"{FOLDER}/{name}" for name in names]
    assert_text("state.json", store.read(f"{FOLDER}/state.json").decode())
    assert store.read(f"{FOLDER}/spool") == read_literal("spool")
    with np.load(tmp_path / FOLDER / "training.npz") as arrays:
        assert {name: arrays[name].tolist() for name in arrays} == {
            "model/0": [[1.0, -2.5]],
            "optimizer/0": 7,
            "best/0": [1.0],
        }
    commit = json.loads(store.read(f"{FOLDER}/COMMIT.json"))
    archive = store.read(f"{FOLDER}/training.npz")  # NumPy's bytes, whatever its version
    assert commit["files"]["training.npz"] == {"bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}
    expected = read_json("COMMIT.json")
    for content in (commit, expected):
        del content["files"]["training.npz"], content["digest"]
    assert commit == expected


def test_a_checkpoint_is_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("COMMIT.json", "state.json", "spool", "training.npz"):
        store.put(f"{FOLDER}/{name}", read_literal(name))
    found = CheckpointManager(store, CONTENT, 4).restore_latest()
    assert found is not None
    assert (found.state, found.metric_spool, found.id.dirname) == (STATE, read_literal("spool"), FOLDER)
    assert {name: (array.dtype, array.tolist()) for name, array in found.arrays.items()} == {
        name: (array.dtype, array.tolist()) for name, array in ARRAYS.items()
    }


def test_arrays_of_a_model_and_its_optimizer() -> None:
    photo = keras.Input((4,))
    x = keras.layers.Dropout(0.5, seed=0)(photo)
    model = keras.Model(photo, keras.layers.Dense(2, name="classes")(keras.layers.BatchNormalization()(x)))
    model.compile(make_optimizer(apply_overrides(get_recipe("simple-64"), ["ema_decay=0.9"]), 10, {}), "mse")
    model.optimizer.build(model.trainable_variables)
    arrays = state.get_arrays(model, model.optimizer) | state.flatten("best", model.get_weights())
    variables = [*model.variables, *model.optimizer.variables, *model.weights]
    names = [re.sub(r"_\d+", "", variable.name) for variable in variables]  # Keras counts names within a process
    found = zip(arrays.items(), names, strict=True)
    assert_json("checkpoint-arrays.json", {key: f"{name} {list(array.shape)}" for (key, array), name in found})


def leases(store: LocalStore) -> str:
    """Return key and content of each object, without who holds it."""
    holder = re.compile(r'[^"]+/\d+/\d+\.\d\d/[0-9a-f]{8}(?=")')
    texts = {key: holder.sub("HOST/PID/STARTED/PROGRAM", store.read(key).decode()) for key in store.list()}
    return "".join(f"{key}: {text}\n" for key, text in texts.items())


def test_lease(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    lease = Lease(store, "job x")
    with lease:
        held = leases(store)
    lease.__enter__()
    lease.__exit__(UsageError, None, None)
    assert_text("lease.txt", f"held:\n{held}given back after an error:\n{leases(store)}")


def test_spool_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = MetricSpool()
    monkeypatch.setattr("time.time", lambda: 1767225600.25)
    spool.add(1, {"loss": 0.1 + 0.2, "val_top1": 0.5})
    spool.add(2, {"loss": 1e-05})
    monkeypatch.undo()
    assert_text("spool", spool.state().decode())
    again = MetricSpool()
    again.restore(read_literal("spool"))
    assert again.state() == read_literal("spool")


def test_parameters_of_a_recipe() -> None:
    recipe = recipe_for_weights("simple-64", "imagenet").to_dict()
    assert_json("recipe-parameters.json", {name: str(value) for name, value in flatten_params(recipe).items()})


def test_job_keys() -> None:
    digest, weights = "0" * 64, "1" * 64
    keys = {name: job_fingerprint(get_recipe(name), "", digest, 0) for name in RECIPES}
    keys["simple-64, seed 1"] = job_fingerprint(get_recipe("simple-64"), "", digest, 1)
    keys["simple-64, other data"] = job_fingerprint(get_recipe("simple-64"), "", "2" * 64, 0)
    keys["simple-64, fine-tuned"] = job_fingerprint(recipe_for_weights("simple-64", "imagenet"), weights, digest, 0)
    keys["simple-64, with a setting"] = job_fingerprint(
        apply_overrides(get_recipe("simple-64"), ["augment.hflip=false"]), "", digest, 0
    )
    taught = with_distillation(get_recipe("simple-64"), "models:/dogbreed/1")
    keys["simple-64, with a teacher"] = job_fingerprint(taught, "", digest, 0, "3" * 64)
    assert_json("job-keys.json", keys)


def test_resource_usage_of_a_training_on_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(gpu: str) -> Any:
        return {"peak": 2**30}

    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", lambda gpu: None)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", measured)
    assert_json("resource-usage.json", sorted(ResourceUsage({}, ("GPU:0", "GPU:1")).read()))
