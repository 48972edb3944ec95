"""Training: what is kept, what stops it, and in which precision it computes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import DataError
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.data.augment import Augment
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.resize import ResizeSpec
from dogbreed.evaluation.predict import predict
from dogbreed.models import registry, whitening
from dogbreed.training import loop, trainer
from dogbreed.training.batches import apply_mixup_cutmix
from dogbreed.training.checkpointer import NullCheckpointer
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.loop import TrainLoop
from dogbreed.training.progress import Progress
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import Phase, sha256_of_arrays
from dogbreed.training.steps import Evaluator, make_train_step
from tests.support.listener import Listener

Preprocess = Callable[..., Manifest | None]
SHORT = apply_overrides(get_recipe("simple-64"), ["size=32", "batch_size=8", "warmup_epochs=0"])


def open_small(dataset: Path, recipe: Recipe) -> InputPipeline:
    store = open_store(str(dataset))
    return InputPipeline(load_manifest(store), store, recipe.view, recipe.batch_size, Path("unused"))


def train(dataset: Path, recipe: Recipe, listener: Listener, **options: Any) -> trainer.TrainResult:
    manifest = load_manifest(open_store(str(dataset)))
    return trainer.train(recipe, manifest, open_small(dataset, recipe), 0, listener, **options)


def test_the_best_epoch_is_kept_not_the_last(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    recipe = apply_overrides(SHORT, ["epochs=4", "learning_rate=0.01"])
    seen: list[list[np.ndarray]] = []

    class SecondIsBest(Evaluator):
        def __init__(self, model: keras.Model, *arguments: Any) -> None:
            super().__init__(model, *arguments)
            self._seen_model = model

        def evaluate(self, batches: tf.data.Dataset) -> dict[str, float]:
            seen.append(self._seen_model.get_weights())
            return super().evaluate(batches) | {"top1": [0.1, 0.5, 0.4, 0.5][len(seen) - 1]}

    monkeypatch.setattr(loop, "Evaluator", SecondIsBest)
    trained = train(dataset, recipe, listener)
    assert listener.steps == [1, 2, 3, 4]
    assert trained.best["epoch"] == 2
    kept = trained.model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(kept, seen[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(kept, seen[3], strict=True))


def test_predictions_are_those_of_the_kept_weights(dataset: Path) -> None:
    trained = train(dataset, apply_overrides(SHORT, ["epochs=2", "learning_rate=0.01"]), Listener())
    labels, probabilities, photos = predict(trained.model, open_small(dataset, SHORT), "validation")
    assert np.mean(probabilities.argmax(1) == labels) == pytest.approx(trained.best["val_top1"])
    assert photos.shape == (len(labels), 32, 32, 3)
    assert probabilities.sum(1) == pytest.approx(1)


def test_the_running_mean_of_the_weights_is_what_is_kept(dataset: Path) -> None:
    plain = train(dataset, apply_overrides(SHORT, ["epochs=1"]), Listener()).model.get_weights()
    slow = train(dataset, apply_overrides(SHORT, ["epochs=1", "ema_decay=0.999"]), Listener()).model.get_weights()
    keras.utils.set_random_seed(0)
    begun = registry.build(SHORT.model, SHORT.size, 4, SHORT.dropout).get_weights()
    moved, behind = np.abs(plain[0] - begun[0]).mean(), np.abs(plain[0] - slow[0]).mean()
    assert 0.005 * moved < behind < 0.2 * moved  # after 3 steps the mean has left the weights after the first


def test_whitening_filters_come_from_train_images_and_stay_through_a_training(dataset: Path) -> None:
    recipe = apply_overrides(SHORT, ["model=airbench", "epochs=1", "precision=mixed_bfloat16", "ema_decay=0.9"])
    trained = train(dataset, recipe, Listener())
    images, _ = next(open_small(dataset, recipe).eval_batches("train").rebatch(1000).as_numpy_iterator())
    alone = registry.build(recipe.model, recipe.size, 4, 0.0)
    whitening.fit_whitening(alone, images)
    kept, expected = (model.get_layer(whitening.LAYER).get_weights() for model in (trained.model, alone))
    assert all(np.array_equal(one, other) for one, other in zip(kept, expected, strict=True))


def test_the_first_epochs_see_smaller_images_by_one_trace_of_each_size(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, steps = list[int](), list[Any]()

    class NotedStep:
        def __init__(self, model: keras.Model, *arguments: Any) -> None:
            last = model.layers[-1]
            self._size = (last if isinstance(last, keras.Model) else model).input.shape[1]
            self._step = make_train_step(model, *arguments)
            self.get_concrete_function = self._step.get_concrete_function
            steps.append(self._step)

        def __call__(self, batch: Any) -> None:
            sizes.append(self._size)
            self._step(batch)

    monkeypatch.setattr(loop, "make_train_step", NotedStep)
    train(dataset, apply_overrides(SHORT, ["model=airbench", "epochs=4", "start_size=24"]), Listener())
    assert sizes == [24] * 6 + [32] * 6
    assert [step.experimental_get_tracing_count() for step in steps] == [1, 1]


def test_training_stops_when_validation_no_longer_improves_and_says_so(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = apply_overrides(SHORT, ["epochs=30", "patience=1", "learning_rate=1e-9"])
    with caplog.at_level("INFO"):
        trained = train(dataset, recipe, Listener())
    assert len(trained.history) < 30
    best = len(trained.history) - 1
    assert f"stopped early, val_top1 was not better for 1 epochs; best weights: epoch {best}, val_top1" in caplog.text


def test_a_loss_that_is_no_number_ends_with_65(dataset: Path) -> None:
    with pytest.raises(DataError, match="registered"):
        train(dataset, apply_overrides(SHORT, ["epochs=3", "learning_rate=1e30"]), Listener())


def test_a_training_shorter_than_its_warm_up_still_reaches_its_rate(dataset: Path) -> None:
    listener = Listener()
    train(dataset, apply_overrides(SHORT, ["epochs=2", "warmup_epochs=5", "batch_size=2"]), listener)
    rates = [values["learning_rate"] for values in listener.values]
    assert rates[0] == pytest.approx(SHORT.learning_rate, rel=0.1)
    assert rates[1] < rates[0] / 10


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_another_precision_computes_in_it_and_keeps_a_model_in_float32(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    computed = list[str]()

    class Noted(Evaluator):
        def __init__(self, model: keras.Model, *arguments: Any) -> None:
            super().__init__(model, *arguments)
            computed.extend(layer.compute_dtype for layer in model.layers if "conv" in layer.name)

    monkeypatch.setattr(loop, "Evaluator", Noted)
    trained = train(dataset, apply_overrides(SHORT, ["epochs=1", f"precision={precision}"]), Listener())
    assert set(computed) == {precision[6:]}
    assert {weight.dtype for weight in trained.model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in trained.model.layers if "conv" in layer.name} == {"float32"}
    assert trained.weights_sha256 == sha256_of_arrays(trained.model.get_weights())
    assert keras.config.dtype_policy().name == "float32"


def test_cutmix_is_a_function_of_the_seed_and_leaves_its_share_of_batches_alone() -> None:
    batches = tf.data.Dataset.from_tensors((tf.constant([0, 1], tf.uint8), tf.eye(2))).repeat(40)
    batches = batches.map(lambda x, y: (tf.broadcast_to(tf.reshape(x, (2, 1, 1, 1)), (2, 8, 8, 3)), y))
    runs = [list(apply_mixup_cutmix(batches, Augment(cutmix_prob=0.5), seed).as_numpy_iterator()) for seed in (3, 3, 4)]
    first, again, other = (np.stack([photos for photos, _ in run]) for run in runs)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    changed = sum(len(np.unique(photos[0])) > 1 for photos, _ in runs[0])
    assert 10 <= changed <= 25  # a rectangle may be of no pixel or of all
    assert apply_mixup_cutmix(batches, Augment(), 3) is batches


def test_each_batch_is_mixed_in_one_way_at_most() -> None:
    photos = tf.constant([0, 90], tf.uint8)
    batches = tf.data.Dataset.from_tensors((photos, tf.eye(2))).repeat(60)
    batches = batches.map(lambda x, y: (tf.broadcast_to(tf.reshape(x, (2, 1, 1, 1)), (2, 8, 8, 3)), y))
    found = list(apply_mixup_cutmix(batches, Augment(cutmix_prob=0.3, mixup_prob=0.3), 1).as_numpy_iterator())
    values = [np.unique(images[0]) for images, _ in found]
    blended = sum(len(v) == 1 and v[0] not in (0, 90) for v in values)
    cut = sum(list(v) == [0, 90] for v in values)
    alone = sum(list(v) == [0] for v in values)
    assert blended + cut + alone >= 58  # a rectangle may be all of the photo, a share may round to none
    assert min(blended, cut, alone) >= 8


def test_one_breed_is_nothing_to_learn(source: StanfordDogs, preprocess: Preprocess, tmp_path: Path) -> None:
    preprocess(source, LocalStore(tmp_path), classes=("Inkpot_terrier",))
    with pytest.raises(DataError, match="one class"):
        train(tmp_path, SHORT, Listener())


def test_without_a_validation_photo_there_is_nothing_to_choose_by(
    source: StanfordDogs, preprocess: Preprocess, tmp_path: Path
) -> None:
    preprocess(source, LocalStore(tmp_path), per_class=3)  # a tenth of 3 is no photo
    with pytest.raises(DataError, match="validation"):
        train(tmp_path, SHORT, Listener())


def test_a_model_whose_answer_is_no_number_is_not_evaluated(dataset: Path) -> None:
    model = registry.build(SHORT.model, SHORT.size, 4, SHORT.dropout)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(DataError, match="not finite"):
        predict(model, open_small(dataset, SHORT), "test")


def test_a_recipe_larger_than_the_data_says_what_to_do(dataset: Path) -> None:
    store = open_store(str(dataset))
    with pytest.raises(DataError, match="--size 512"):
        InputPipeline(load_manifest(store), store, ResizeSpec(512), 8, Path("unused"))


def test_waiting_for_photos_is_measured_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", keras.losses.CategoricalCrossentropy())
    listener = Listener()

    def slow(x: tf.Tensor) -> tf.Tensor:
        return tf.py_function(lambda value: time.sleep(0.05) or value, [x], tf.float32)

    photos = tf.data.Dataset.from_tensors(tf.ones((4, 1))).repeat(20).map(slow)
    late = photos.map(lambda x: (tf.ensure_shape(x, (4, 1)), tf.one_hot([0, 1, 0, 1], 2)))
    early = late.take(10).cache()
    for _ in early:
        pass
    for batches, epochs in ((late, 2), (early, 1)):
        make_batches = lambda start, batches=batches: batches  # noqa: E731
        phase = Phase("full", model, model, epochs, 10, 4, 9, make_batches, early, DistributedContext())
        TrainLoop(Progress(listener, 3), NullCheckpointer(), ResourceUsage({}), None).run(phase, None)
        if batches is late:
            assert caplog.text.count("waited for images") == 1  # in two epochs
    waited = [values["input_wait_fraction"] * values["epoch_seconds"] for values in listener.values]
    assert min(waited[:2]) > 0.3  # ten batches come 0.05 s late each
    assert waited[2] < waited[1] / 2


def test_several_batches_an_execution_end_in_the_same_weights(dataset: Path) -> None:
    one, four = Listener(), Listener()  # 3 batches an epoch: 3 at a time
    settings = ["epochs=2", "learning_rate=0.01"]
    train(dataset, apply_overrides(SHORT, settings), one)
    train(dataset, apply_overrides(SHORT, [*settings, "steps_per_execution=5"]), four)
    assert [values["loss"] for values in four.values] == pytest.approx([values["loss"] for values in one.values], 1e-3)
    assert "input_wait_fraction" in one.values[0]
    assert "input_wait_fraction" not in four.values[0]


class Reads:
    """Counts reads of tensors from the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        kind = type(tf.constant(0)).__mro__[1]  # of the eager tensors, behind numpy(), float(), bool() and NumPy
        read = kind._numpy

        def counted(tensor: tf.Tensor) -> np.ndarray:
            self.count += 1
            return read(tensor)

        monkeypatch.setattr(kind, "_numpy", counted)


def test_nothing_is_read_from_the_device_between_two_log_points(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    float(tf.constant(1.0)), tf.constant(1.0).numpy(), bool(tf.constant(1) > 0)
    assert reads.count == 3
    after_steps: list[int] = []

    class Counting(NullCheckpointer):
        def check_lease(self) -> None:
            after_steps.append(reads.count)

    recipe = apply_overrides(SHORT, ["epochs=1", "batch_size=2"])
    listener = Listener()
    train(dataset, recipe, listener, checkpointer=Counting(), log_every=5)
    found = [step for step, values in zip(listener.steps, listener.values, strict=True) if "step_loss" in values]
    assert found == [5, 10]
    differences = np.diff(after_steps)  # number i: the reads of step i + 2
    assert len(differences) == 13
    assert [step - 1 for step, count in enumerate(differences, 2) if count] == found, "while the next step runs"


def test_step_metrics_are_the_means_since_the_last_log_point(dataset: Path) -> None:
    listener = Listener()
    train(dataset, apply_overrides(SHORT, ["epochs=2", "learning_rate=0.01"]), listener, log_every=1)
    steps = [values for values in listener.values if "step_loss" in values]
    epochs = [values for values in listener.values if "loss" in values]
    assert listener.steps == [1, 2, 3, 1, 4, 5, 6, 2]  # 3 steps, the epoch
    for number, epoch in enumerate(epochs):
        own = steps[3 * number : 3 * number + 3]
        assert np.mean([values["step_loss"] for values in own]) == pytest.approx(epoch["loss"], rel=1e-5)
        assert np.mean([values["step_top1"] for values in own]) == pytest.approx(epoch["top1"], abs=1e-6)
    assert epochs[0].keys() >= {
        "loss",
        "top1",
        "top5",
        "val_loss",
        "val_top1",
        "val_top5",
        "learning_rate",
        "epoch_seconds",
    }


def test_several_steps_an_execution_log_once_each(dataset: Path) -> None:
    listener = Listener()
    settings = ["epochs=1", "batch_size=2", "steps_per_execution=7"]  # 14 steps an epoch
    train(dataset, apply_overrides(SHORT, settings), listener, log_every=5)
    assert [step for step, values in zip(listener.steps, listener.values, strict=True) if "step_loss" in values] == [
        7,
        14,
    ]
