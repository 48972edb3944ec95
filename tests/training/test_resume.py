"""Trainings that are stopped or broken off in this process and go on: equal, bit for bit, to the uninterrupted one."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from dogbreed.core import signals
from dogbreed.core.errors import ShutdownRequested
from dogbreed.core.lease import Lease
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.splits import VALIDATION
from dogbreed.models import keras_applications, registry
from dogbreed.models.weights import Weights
from dogbreed.training import trainer
from dogbreed.training.checkpoint import CheckpointManager
from dogbreed.training.checkpointer import AsyncCheckpointer, CheckpointInterval
from dogbreed.training.distillation import Teacher
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe, recipe_for_weights, with_distillation
from tests.support.listener import Listener

TIMINGS = ("epoch_seconds", "images_per_second", "input_wait_fraction")
PLAIN = ("size=32", "batch_size=8", "epochs=2", "warmup_epochs=1", "learning_rate=0.003")  # 3 steps an epoch
ALL_ON = (
    *PLAIN, "ema_decay=0.9", "global_clipnorm=1", "class_weights=true", "dropout=0.3",
    "augment.cutmix_prob=0.3", "augment.mixup_prob=0.3", "augment.erase_prob=0.3",
)  # fmt: skip
SGD = (  # from whitened patches, the first epoch at a smaller size
    *PLAIN, "model=airbench", "optimizer=sgd", "learning_rate=0.1", "ema_decay=0.9", "start_size=24",
)  # fmt: skip
FINETUNED = (
    *PLAIN, "model=mobilenet-0.25", "ema_decay=0.9", "head.epochs=2", "head.augmentations=2", "head.batch_size=16",
    "trainable_fraction=0.5", "layer_decay=0.5", "patience=9",
)  # fmt: skip  # 3 steps an epoch in both phases

TAUGHT = (*PLAIN, "epochs=3", "distillation.views=2", "distillation.temperature=2", "augment.cutmix_prob=0.3")


class Crash(Exception):
    """What nothing handles: no checkpoint is written because of it."""


@dataclass
class Fault:
    """One interruption: where it comes, and what it is."""

    where: str  # tracing, step, validation
    step: int = 0  # global step after which it comes
    crash: bool = False  # break off instead of SIGTERM
    armed: bool = field(default=False, init=False)

    def strike(self) -> None:
        """Interrupt this process."""
        self.where = "over"
        if self.crash:
            raise Crash
        os.kill(os.getpid(), signal.SIGTERM)


class FaultyLease(Lease):
    """A lease that is checked once at the end of each step, which is where faults come or are armed."""

    def __init__(self, store: LocalStore, fault: Fault, step: int) -> None:
        super().__init__(store, "job")
        self._fault, self._step = fault, step

    def check(self) -> None:
        self._step += 1
        if self._step == self._fault.step:
            self._fault.armed = True
            if self._fault.where == "step":
                self._fault.strike()


class FaultyPipeline(InputPipeline):
    """A pipeline whose next validation batch brings an armed fault."""

    fault: Fault

    def eval_batches(self, split: str) -> tf.data.Dataset:
        batches = super().eval_batches(split)
        if split != VALIDATION:
            return batches

        def bring(*batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.control_dependencies([tf.numpy_function(self._look, [], tf.int64)]):
                return tuple(map(tf.identity, batch))

        return batches.map(bring)

    def _look(self) -> int:
        if self.fault.where == "validation" and self.fault.armed:
            self.fault.strike()
        return 0


@dataclass(frozen=True)
class Case:
    """A training and where its checkpoints go."""

    recipe: Recipe
    dataset: Path
    weights: Weights | None
    folder: Path
    teacher: Teacher | None = None

    def start(
        self, fault: Fault, monkeypatch: pytest.MonkeyPatch, every: CheckpointInterval
    ) -> tuple[trainer.TrainResult, Listener]:
        """Train from the newest checkpoint on, with one fault."""
        signals.install_handlers()
        store, data = LocalStore(self.folder), open_store(str(self.dataset))
        manifest, listener = load_manifest(data), Listener()
        numbers = [int(path.name.split("-")[1]) for path in self.folder.glob("*-*-*")]
        checkpoints = CheckpointManager(store, "content", max(numbers, default=0) + 1)
        restored = checkpoints.restore_latest()
        lease = FaultyLease(store, fault, restored.state.global_step if restored else 0)
        pipeline = FaultyPipeline(manifest, data, self.recipe.view, self.recipe.batch_size, Path("unused"))
        pipeline.fault = fault
        with monkeypatch.context() as patch:
            patch.setattr(keras.Model, "compute_loss", interrupted(keras.Model.compute_loss, fault))
            checkpointer = AsyncCheckpointer(checkpoints, every, lease)
            trained = trainer.train(
                self.recipe, manifest, pipeline, 0, listener, self.weights, checkpointer, restored, log_every=2,
                teacher=self.teacher,
            )  # fmt: skip
        return trained, listener

    def steps_of_checkpoints(self) -> list[int]:
        """Return the steps of all checkpoints."""
        return sorted(int(path.parent.name.split("-")[0]) for path in self.folder.glob("*/COMMIT.json"))


def interrupted(compute_loss: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    """Return a loss that is interrupted when a training step is traced."""

    def wrapped(*arguments: Any, training: bool = True, **options: Any) -> Any:
        if fault.where == "tracing" and training:
            fault.strike()
        return compute_loss(*arguments, training=training, **options)

    return wrapped


@pytest.fixture(scope="module", autouse=True)
def deterministic() -> Iterator[None]:
    tf.config.experimental.enable_op_determinism()
    yield
    disable_op_determinism()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give both signals back to pytest."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    signals.install_handlers()  # forgets the signals that have come
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    path = tmp_path_factory.mktemp("weights") / "mobilenet-0.25.weights.h5"
    keras.utils.set_random_seed(1)
    keras_applications.application("MobileNet 0.25", 32).save_weights(path)
    return Weights.from_file(path)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    keras.utils.set_random_seed(2)
    registry.build("simple", 16, 4, 0.2).save(path)
    return Teacher(path, "a" * 64, ResizeSpec(16))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep features and a teacher's probabilities for one test only."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture(scope="module")
def ends() -> dict[str, tuple[trainer.TrainResult, Listener]]:
    """How the uninterrupted trainings ended, by the name of their settings."""
    return {}


def values(listener: Listener) -> list[dict[str, float]]:
    """Return all that was logged, without what a clock decides."""
    return [{name: value for name, value in logged.items() if name not in TIMINGS} for logged in listener.values]


SETTINGS = {"plain": PLAIN, "all on": ALL_ON, "sgd": SGD, "fine-tuned": FINETUNED, "with a teacher": TAUGHT}


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        pytest.param("plain", [Fault("validation", 3), Fault("step", 5, crash=True)], marks=pytest.mark.long),
        (
            "all on",  # step 3 is its epoch's last one, step 6 the last of all
            [Fault("tracing"), Fault("step", 2), Fault("tracing"), Fault("step", 3), Fault("validation", 6)],
        ),
        pytest.param("all on", [Fault("validation", 3), Fault("step", 5)], marks=pytest.mark.long),
        ("sgd", [Fault("step", 2)]),
        ("with a teacher", [Fault("step", 2), Fault("validation", 6)]),
        ("fine-tuned", [Fault("step", 2), Fault("step", 6), Fault("validation", 9)]),  # 6: the head's last one
    ],
    ids=lambda value: "-".join(f"{f.where}{f.step}" for f in value) if isinstance(value, list) else value,
)
def test_an_interrupted_training_ends_as_the_uninterrupted_one(
    name: str,
    faults: list[Fault],
    dataset: Path,
    weights: Weights,
    teacher: Teacher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: dict[str, tuple[trainer.TrainResult, Listener]],
) -> None:
    tuned = name == "fine-tuned"
    recipe = recipe_for_weights("mobilenetv2-160", str(weights.path)) if tuned else get_recipe("simple-64")
    init, own = weights if tuned else None, teacher if name == "with a teacher" else None
    recipe = apply_overrides(with_distillation(recipe, "folder") if own else recipe, SETTINGS[name])
    if name not in ends:
        whole = Case(recipe, dataset, init, tmp_path / "whole", own)
        ends[name] = whole.start(Fault("never"), monkeypatch, CheckpointInterval(steps=1000))
    case = Case(recipe, dataset, init, tmp_path / "interrupted", own)
    done = 0
    for fault in faults:
        kind, every = (
            (Crash, CheckpointInterval(steps=1)) if fault.crash else (ShutdownRequested, CheckpointInterval(steps=1000))
        )
        with pytest.raises(kind):
            case.start(fault, monkeypatch, every)
        done = max(done, fault.step - fault.crash)
        assert max(case.steps_of_checkpoints(), default=0) == done  # no step is lost when it was stopped
    (trained, listener), (expected, reference) = (
        case.start(Fault("never"), monkeypatch, CheckpointInterval(steps=1000)),
        ends[name],
    )
    assert trained.weights_sha256 == expected.weights_sha256
    assert trained.optimizer_sha256 == expected.optimizer_sha256
    assert values(listener) == values(reference)
    assert trained.best["epoch"] == expected.best["epoch"]
