"""A student learns from a teacher's probabilities for the very views that it sees, which are computed once."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported, UsageError
from dogbreed.core.rendezvous import ClusterSpec
from dogbreed.core.scratch import SCRATCH_LIMIT
from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.training import memory_estimate
from dogbreed.training.batches import train_batches
from dogbreed.training.build import build_model
from dogbreed.training.distillation import Teacher, compute_targets
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.feature_cache import FOLDER, Features
from dogbreed.training.losses import DistillationLoss, soften, validation_loss
from dogbreed.training.recipe import Recipe, apply_overrides, job_fingerprint
from dogbreed.training.recipes import get_recipe, with_distillation

VIEWS = 2
SETTINGS = (
    "size=32", "batch_size=8", "epochs=5", f"distillation.views={VIEWS}", "augment.cutmix_prob=0",
    "augment.min_area=0.2", "augment.brightness=0.3",
)  # fmt: skip
CLASSES = 4


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which views are kept."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"{FOLDER}-{os.getuid()}"


def look(size: int) -> keras.Model:
    """Return a model whose probabilities depend on place and brightness, but hardly on the size of its input."""
    image = keras.Input((size, size, 3), dtype="uint8")
    cells = keras.layers.AveragePooling2D(size // 4)(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(CLASSES, activation="softmax")
    model = keras.Model(image, dense(keras.layers.Flatten()(cells)))
    dense.set_weights([np.random.default_rng(0).normal(size=(48, CLASSES)), np.zeros(CLASSES)])
    return model


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    look(16).save(tmp_path / "model.keras")
    return Teacher(tmp_path / "model.keras", "a" * 64, ResizeSpec(16))


def recipe(*settings: str) -> Recipe:
    return apply_overrides(with_distillation(get_recipe("simple-64"), "folder"), [*SETTINGS, *settings])


def pipeline(dataset: Path, student: Recipe) -> InputPipeline:
    store = open_store(str(dataset))
    return InputPipeline(load_manifest(store), store, student.view, student.batch_size, Path("unused"))


def batches(
    dataset: Path, student: Recipe, targets: Features, start: tuple[int, int] = (0, 0)
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    found = train_batches(student, pipeline(dataset, student), CLASSES, 7, start, targets)
    return list(found.as_numpy_iterator())


@pytest.mark.parametrize("cache", ["none", "memory", pytest.param("disk", marks=pytest.mark.long)])
def test_the_targets_are_what_the_teacher_predicts_for_the_same_crops_at_its_own_size(
    dataset: Path, teacher: Teacher, cache: str
) -> None:
    student = recipe(f"cache={cache}")
    flow = pipeline(dataset, student)
    found = batches(dataset, student, compute_targets(teacher, student, flow, 7))
    steps, same = flow.steps_per_epoch("train"), look(32)
    assert len(found) == 5 * steps
    errors = [np.abs(same.predict_on_batch(images) - targets).mean() for images, targets in found]
    spread = np.concatenate([targets for _, targets in found]).std(axis=0).mean()
    assert max(errors) < 0.2 * spread
    others = [np.abs(same.predict_on_batch(found[i][0]) - found[i + steps][1]).mean() for i in range(steps)]
    assert min(others) > 0.5 * spread
    first, second, third = (found[epoch * steps : (epoch + 1) * steps] for epoch in range(3))
    for (images, targets), (again, same_targets) in zip(first, third, strict=True):  # the views come in turn
        assert np.array_equal(images, again)
        assert np.array_equal(targets, same_targets)
    assert not np.array_equal(first[0][0], second[0][0])


def test_a_resumed_training_sees_the_rest_of_the_batches(dataset: Path, teacher: Teacher) -> None:
    student = recipe("augment.cutmix_prob=0.5")
    targets = compute_targets(teacher, student, pipeline(dataset, student), 7)
    whole, rest = batches(dataset, student, targets), batches(dataset, student, targets, (3, 1))
    assert len(rest) == len(whole) - 3 * len(whole) // 5 - 1
    for one, other in zip(whole[-len(rest) :], rest, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_views_are_kept_one_by_one_for_any_mixing_and_temperature(
    dataset: Path, teacher: Teacher, scratch: Path
) -> None:
    compute_targets(teacher, recipe("epochs=1"), pipeline(dataset, recipe()), 7)
    assert len(list(scratch.glob("*.npz"))) == 1  # one epoch sees one view
    before = compute_targets(teacher, recipe(), pipeline(dataset, recipe()), 7)
    assert len(list(scratch.glob("*.npz"))) == VIEWS
    teacher.path.unlink()
    other = recipe("augment.mixup_prob=0.5", "distillation.temperature=3")
    after = compute_targets(teacher, other, pipeline(dataset, other), 7)
    assert np.array_equal(before.values, after.values)
    for changed in (recipe("augment.hflip=false"), recipe("batch_size=4")):
        with pytest.raises(ValueError, match="not found"):
            compute_targets(teacher, changed, pipeline(dataset, changed), 7)
    with pytest.raises(ValueError, match="not found"):
        compute_targets(teacher, recipe(), pipeline(dataset, recipe()), 8)
    with pytest.raises(ValueError, match="not found"):
        compute_targets(dataclasses.replace(teacher, sha256="b"), recipe(), pipeline(dataset, recipe()), 7)


def test_views_that_would_not_fit_are_an_error_before_the_first(
    dataset: Path, teacher: Teacher, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCRATCH_LIMIT, "1Mi")
    with pytest.raises(EnvironmentUnsupported, match=r"2 views \(distillation\.views\)"):
        compute_targets(teacher, recipe(), pipeline(dataset, recipe()), 7)


def test_targets_of_another_order_of_images_end_the_training(dataset: Path, teacher: Teacher) -> None:
    targets = compute_targets(teacher, recipe(), pipeline(dataset, recipe()), 7)
    with pytest.raises(tf.errors.InvalidArgumentError, match="another order"):
        batches(dataset, recipe(), dataclasses.replace(targets, labels=targets.labels[::-1]))


def test_the_loss_is_the_divergence_of_softened_probabilities() -> None:
    logits, wanted = tf.constant([[1.0, -2.0, 0.5]]), tf.constant([[3.0, 0.0, -1.0]])
    for temperature in (1.0, 4.0):
        loss = DistillationLoss(temperature)
        targets = soften(tf.nn.softmax(wanted), temperature)
        assert targets.numpy() == pytest.approx(tf.nn.softmax(wanted / temperature).numpy(), abs=1e-6)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(targets, tf.nn.softmax(logits))
        expected = keras.losses.kl_divergence(targets, tf.nn.softmax(logits / temperature))
        assert float(value) == pytest.approx(temperature**2 * float(expected[0]), rel=1e-4)
        difference = tf.nn.softmax(logits / temperature) - targets
        assert tape.gradient(value, logits).numpy() == pytest.approx(temperature * difference.numpy(), abs=1e-5)
        assert float(loss(targets, tf.nn.softmax(wanted))) == pytest.approx(0, abs=1e-5)


def test_the_loss_has_a_gradient_where_probabilities_are_zero() -> None:
    logits, targets = tf.constant([[200.0, 0.0, -50.0]]), tf.constant([[0.0, 0.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = DistillationLoss(1.0)(targets, tf.nn.softmax(logits))
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, logits).numpy()).all()


def test_validation_is_by_labels() -> None:
    labels, probabilities = tf.constant([[1.0, 0.0]]), tf.constant([[0.25, 0.75]])
    assert float(validation_loss(DistillationLoss(4.0))(labels, probabilities)) == pytest.approx(np.log(4))
    smoothed = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    assert validation_loss(smoothed) is smoothed


def test_what_a_teacher_cannot_do_is_refused() -> None:
    moved = recipe("augment.trivial_augment=true")
    Teacher(Path("model.keras"), "", ResizeSpec(32)).check(moved)
    with pytest.raises(UsageError, match="TrivialAugment"):
        Teacher(Path("model.keras"), "", ResizeSpec(16)).check(moved)
    with pytest.raises(UsageError, match="label_smoothing"):
        recipe("label_smoothing=0.1")
    with pytest.raises(UsageError, match="several workers"):
        DistributedContext("multiworker", ClusterSpec(("a:1", "b:1"), 0)).check(recipe())
    for bad in ("distillation.views=0", "distillation.temperature=0"):
        with pytest.raises(UsageError, match="distillation"):
            recipe(bad)


def test_teachers_of_one_content_have_one_job_key_wherever_they_lie() -> None:
    here, there = (with_distillation(get_recipe("simple-64"), where) for where in ("folder", "models:/x/1"))
    assert job_fingerprint(here, "", "data", 0, "a" * 64) == job_fingerprint(there, "", "data", 0, "a" * 64)
    assert job_fingerprint(here, "", "data", 0, "a" * 64) != job_fingerprint(there, "", "data", 0, "b" * 64)


def test_the_memory_estimate_counts_the_probabilities(dataset: Path) -> None:
    student = recipe("distillation.views=10")
    parts = memory_estimate.estimate(build_model(student, CLASSES), student, pipeline(dataset, student))
    images = pipeline(dataset, student).num_examples("train")
    assert parts["teacher's probabilities"] == 3 * 10 * images * CLASSES * 4
