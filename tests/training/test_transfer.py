"""Weights from elsewhere: the head learns first, then the upper part of the body, never its BatchNormalization."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import UsageError
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.models import common, keras_applications, registry
from dogbreed.models.weights import Weights
from dogbreed.training import finetune, loop, trainer
from dogbreed.training.class_weights import add_class_weights
from dogbreed.training.optimizer import LayerwiseAdamW
from dogbreed.training.recipe import Recipe, apply_overrides, job_fingerprint
from dogbreed.training.recipes import recipe_for_weights
from dogbreed.training.steps import Evaluator
from tests.support.listener import Listener
from tests.support.warm_job import run

SETTINGS = ["model=mobilenet-0.25", "size=32", "batch_size=8", "epochs=2", "head.epochs=3", "warmup_epochs=0"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    path = tmp_path_factory.mktemp("weights") / "mobilenet-0.25.weights.h5"
    keras.utils.set_random_seed(1)
    keras_applications.application("MobileNet 0.25", 32).save_weights(path)
    return Weights.from_file(path)


def train(dataset: Path, weights: Weights, *settings: str, **options: Any) -> trainer.TrainResult:
    recipe = apply_overrides(recipe_for_weights("mobilenetv2-160", str(weights.path)), [*SETTINGS, *settings])
    store = open_store(str(dataset))
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path("unused"))
    return trainer.train(recipe, manifest, pipeline, 0, Listener(), weights, **options)


@pytest.mark.parametrize(
    "others",
    [(), pytest.param(("precision=mixed_float16", "steps_per_execution=2"), marks=pytest.mark.long)],
)
def test_fine_tuning_on_two_devices_ends_as_on_one(dataset: Path, weights: Weights, others: tuple[str, ...]) -> None:
    settings = ("model=mobilenet-0.25", "head.epochs=2", "trainable_fraction=0.3", f"weights={weights.path}", *others)
    done = run("tests.support.mirrored", str(dataset), *settings)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["replicas"] == 2
    alone, both = found["losses"]
    assert len(alone) == 2 * (2 + 2), "two epochs of the head, two of the body"
    assert both == pytest.approx(alone, rel=1e-2 if others else 1e-4)
    assert found["difference"] < (1e-2 if others else 1e-4)


def moved(model: keras.Model, weights: Weights) -> list[tuple[keras.Layer, bool]]:
    """Return the body's layers and whether their weights differ from the file's."""
    fresh = keras_applications.application("MobileNet 0.25", 32)
    fresh.load_weights(weights.path)
    ours = [layer for layer in common.leaf_layers(common.backbone(model)) if layer.weights]
    theirs = [layer for layer in fresh.layers if layer.weights]
    return [
        (layer, not all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), other.get_weights(), strict=True)))
        for layer, other in zip(ours, theirs, strict=True)
    ]


def test_a_frozen_body_stays_as_it_came_and_the_head_learns(dataset: Path, weights: Weights) -> None:
    trained = train(dataset, weights, "trainable_fraction=0")
    assert not any(changed for _, changed in moved(trained.model, weights))
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2, 3]
    assert trained.head_epochs == 3
    assert np.abs(trained.model.get_layer("logits").bias.numpy()).max() > 0


def judged(whole: float) -> type[Evaluator]:
    """Return an evaluator by which the whole model comes out as `whole`, and the head as it is."""

    class Judged(Evaluator):
        def __init__(self, model: keras.Model, *arguments: Any) -> None:
            super().__init__(model, *arguments)
            self._is_head = len(model.layers) == 4

        def evaluate(self, batches: tf.data.Dataset) -> dict[str, float]:
            found = super().evaluate(batches)
            return found if self._is_head else found | {"top1": whole}

    return Judged


def test_the_upper_part_learns_after_the_head_and_batch_normalization_never(
    dataset: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "Evaluator", judged(2.0))
    trained = train(
        dataset,
        weights,
        "trainable_fraction=0.3",
        "head.epochs=1",
        "learning_rate=0.01",
        "patience=9",
    )
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2, 3]
    layers = moved(trained.model, weights)
    assert trained.best["epoch"] == 2
    assert layers[-2][1]
    assert not layers[0][1]
    assert not any(changed for layer, changed in layers if isinstance(layer, keras.layers.BatchNormalization))


def test_the_head_alone_is_kept_when_the_body_makes_it_no_better(
    dataset: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "Evaluator", judged(0.0))
    trained = train(dataset, weights, "trainable_fraction=1", "head.epochs=2")
    assert "kept; lower learning_rate" in caplog.text
    assert trained.best["epoch"] <= 2
    assert not any(changed for _, changed in moved(trained.model, weights))


def test_a_body_and_a_head_share_the_models_layers() -> None:
    model = registry.build("mobilenet-0.25", 32, 5, 0.5)
    photos = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    features = common.backbone(model).predict_on_batch(photos)
    assert features.shape == (3, 256)
    assert np.allclose(common.head(model).predict_on_batch(features), model.predict_on_batch(photos), atol=1e-6)


def test_lower_layers_learn_more_slowly() -> None:
    model = registry.build("mobilenet-0.25", 32, 5, 0.0)
    finetune.freeze_below(model, 0.5)
    scales = finetune.layer_lr_scales(model, 0.1)
    rates = list(scales.values())
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 1
    assert "logits/kernel" not in scales
    learning = {variable.path for variable in model.trainable_variables}
    assert set(scales) == learning - {"logits/kernel", "logits/bias"}


def test_a_factor_multiplies_the_step_of_its_variable_alone() -> None:
    slow, fast = keras.Variable(1.0, name="slow"), keras.Variable(1.0, name="fast")
    optimizer = LayerwiseAdamW(0.1, decay=0.0, scales={slow.path: 0.1})
    optimizer.apply([tf.constant(1.0), tf.constant(1.0)], [slow, fast])
    steps = [1 - float(variable.numpy()) for variable in (slow, fast)]
    assert steps == pytest.approx([0.01, 0.1], rel=1e-3)


def test_a_factor_multiplies_the_decay_too_and_biases_have_none() -> None:
    slow, fast, bias = (keras.Variable(1.0, name=name) for name in ("slow_kernel", "fast_kernel", "bias"))
    optimizer = LayerwiseAdamW(0.1, decay=0.5, scales={slow.path: 0.1})
    optimizer.apply([tf.constant(0.0)] * 3, [slow, fast, bias])
    steps = [1 - float(variable.numpy()) for variable in (slow, fast, bias)]
    assert steps == pytest.approx([0.005, 0.05, 0.0], rel=1e-3)


def test_decay_is_that_of_keras_adamw() -> None:
    pairs = [(keras.Variable([[2.0]], name="kernel"), keras.Variable([3.0], name="bias")) for _ in range(2)]
    keras_own = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    keras_own.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    ours = LayerwiseAdamW(0.01, decay=0.1, scales={})
    for optimizer, pair in zip((keras_own, ours), pairs, strict=True):
        for step in range(5):
            optimizer.apply([tf.constant([[0.3 * step]]), tf.constant([0.1])], list(pair))
    for theirs, own in zip(*pairs, strict=True):
        assert own.numpy() == pytest.approx(theirs.numpy(), rel=1e-6)


def test_class_weights_make_every_breed_count_the_same() -> None:
    labels = tf.one_hot([0, 0, 0, 1], 3)
    batches = tf.data.Dataset.from_tensors((tf.zeros((4, 1, 1, 3), tf.uint8), labels))
    _, truth, weights = next(add_class_weights(batches, np.array([3, 1, 0])).as_numpy_iterator())
    assert (truth * weights[:, np.newaxis]).sum(0) == pytest.approx([2, 2, 0])
    assert weights.mean() == pytest.approx(1)


def test_weights_of_one_content_have_one_job_key_wherever_they_lie() -> None:
    here, there = (recipe_for_weights("mobilenetv2-160", where) for where in ("folder", "s3://bucket/weights"))
    assert job_fingerprint(here, "a" * 64, "data", 0) == job_fingerprint(there, "a" * 64, "data", 0)
    assert job_fingerprint(here, "a" * 64, "data", 0) != job_fingerprint(here, "b" * 64, "data", 0)


def test_a_recipe_that_would_train_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing"):
        Recipe("none", "simple", 64, trainable_fraction=0.0)
