"""The state of a training: counters, history, early stopping, and its variables as arrays."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core.errors import DataError
from dogbreed.training.distributed import DistributedContext

MONITOR = "val_top1"  # the metric by which the best epoch is chosen

Arrays = dict[str, np.ndarray]
Sums = dict[str, list[float]]  # metric -> its total over examples and their number


@dataclass(frozen=True)
class Phase:
    """One part of a training: what is trained, on what, and for how long."""

    kind: Literal["head", "full"]  # head: a new head on cached features; full: the whole model on images
    full_model: keras.Model  # whose weights are kept
    model: keras.Model  # what is trained, compiled: `full_model`, or its head; its optimizer belongs to this phase
    epochs: int
    steps: int  # batches an epoch, a multiple of the model's steps_per_execution
    batch_size: int  # examples a batch, over all replicas
    patience: int  # epochs without a better val_top1 before the phase ends
    make_batches: Callable[[tuple[int, int]], tf.data.Dataset]  # from (epoch, step) to the end of the last epoch
    validation: tf.data.Dataset
    distribution: DistributedContext
    ema_model: keras.Model | None = None  # a second model for the running means of the weights; None: no such means
    start_model: keras.Model | None = None  # `model` on smaller images, which it sees in the first epochs
    start_epochs: int = 0

    def __str__(self) -> str:
        """Describe the phase for the log."""
        trainable = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        return (
            f"phase {self.kind}: {trainable:,} trainable parameters, at most {self.epochs} epochs "
            f"of {self.steps} steps, batches of {self.batch_size}"
        )


@dataclass
class TrainState:
    """The counters of one training from its first step on, whatever number of processes it takes."""

    phase: int = 0  # number of the present phase
    epoch: int = 0  # epochs of it that are over
    epoch_step: int = 0  # steps of the present epoch; all of them while it is being validated
    global_step: int = 0  # steps of all phases
    history: list[dict[str, float]] = field(default_factory=list)  # one entry for each epoch of all phases
    phase_starts: list[int] = field(default_factory=lambda: [0])  # index in `history` at which each phase begins
    metric_sums: Sums = field(default_factory=dict)  # of the present epoch, as of the last checkpoint
    logged_sums: Sums = field(default_factory=dict)  # of the present epoch, as of the last log point
    epoch_seconds: float = 0.0  # spent on the present epoch, as of the last checkpoint
    input_wait_seconds: float = 0.0  # of these, spent waiting for a batch
    resource_usage: dict[str, float] = field(default_factory=dict)  # as of the last checkpoint

    @property
    def best_metric(self) -> float:
        """The highest validation accuracy so far."""
        return max((epoch[MONITOR] for epoch in self.history), default=float("-inf"))

    @property
    def epochs_since_best(self) -> int:
        """Epochs of the present phase since its best one; 0 before the first."""
        found = [epoch[MONITOR] for epoch in self.history[self.phase_starts[-1] :]]
        return len(found) - 1 - found.index(max(found)) if found else 0

    def next_position(self, steps: int) -> tuple[int, int]:
        """Return (epoch, step) of the next batch where an epoch has `steps`."""
        if self.epoch_step == steps:  # stopped while it was being validated
            return self.epoch + 1, 0
        return self.epoch, self.epoch_step

    def advance(self, steps: int = 1) -> None:
        """Count steps that were taken."""
        self.epoch_step += steps
        self.global_step += steps

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """Add the values of the present epoch to the history, and begin the next epoch."""
        self.history.append({"epoch": len(self.history) + 1, **values})
        self.epoch += 1
        self._reset_epoch()

    def start_next_phase(self) -> None:
        """Begin the next phase with its epoch 0."""
        self.phase += 1
        self.epoch = 0
        self.phase_starts.append(len(self.history))
        self._reset_epoch()

    def _reset_epoch(self) -> None:
        self.epoch_step = 0
        self.metric_sums, self.logged_sums = {}, {}
        self.epoch_seconds = self.input_wait_seconds = 0.0

    def copy(self) -> "TrainState":
        """Return a copy that later steps do not change."""
        return dataclasses.replace(self, history=[*self.history], phase_starts=[*self.phase_starts])

    def to_dict(self) -> dict[str, Any]:
        """Return the state as state.json holds it; floats survive bit for bit."""
        return {
            "phase": self.phase,
            "epoch": self.epoch,
            "epoch_step": self.epoch_step,
            "global_step": self.global_step,
            "history": self.history,
            "phase_starts": self.phase_starts,
            "metric_sums": self.metric_sums,
            "logged_sums": self.logged_sums,
            "epoch_seconds": self.epoch_seconds,
            "input_wait_seconds": self.input_wait_seconds,
            "resource_usage": self.resource_usage,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TrainState":
        """Return the state that `to_dict` gave."""
        return cls(
            phase=data["phase"],
            epoch=data["epoch"],
            epoch_step=data["epoch_step"],
            global_step=data["global_step"],
            history=data["history"],
            phase_starts=data["phase_starts"],
            metric_sums=data["metric_sums"],
            logged_sums=data["logged_sums"],
            epoch_seconds=data["epoch_seconds"],
            input_wait_seconds=data["input_wait_seconds"],
            resource_usage=data["resource_usage"],
        )


def should_continue(state: TrainState, phase: Phase) -> bool:
    """Return whether the phase has epochs left and still improves."""
    return state.epoch < phase.epochs and state.epochs_since_best < phase.patience


def get_arrays(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Arrays:
    """Return copies of all variables of the whole model, seed generators included, and of the optimizer."""
    variables = {"model": model.variables, "optimizer": optimizer.variables}
    arrays: Arrays = {}
    for name, group in variables.items():
        arrays |= flatten(name, [np.array(keras.ops.convert_to_numpy(variable)) for variable in group])
    return arrays


def set_arrays(arrays: Arrays, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Assign the arrays of `get_arrays`; DataError where they are those of another model or optimizer."""
    for name, variables in (("model", model.variables), ("optimizer", optimizer.variables)):
        found = unflatten(arrays, name)
        if [array.shape for array in found] != [tuple(variable.shape) for variable in variables]:
            raise DataError(
                "the checkpoint holds another model or optimizer, written by another version of this suite; "
                "begin anew with --restart"
            )
        for variable, array in zip(variables, found, strict=True):
            variable.assign(array)


def flatten(name: str, arrays: Sequence[np.ndarray]) -> Arrays:
    """Return the arrays under the names `name`/0, `name`/1 and so on."""
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def unflatten(arrays: Arrays, name: str) -> list[np.ndarray]:
    """Return the arrays to which `flatten` gave that name, in order."""
    count = sum(key.startswith(f"{name}/") for key in arrays)
    return [arrays[f"{name}/{number}"] for number in range(count)]


def sha256_of_arrays(arrays: Any) -> str:
    """Return the SHA-256 of the arrays' bytes in order."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(np.ascontiguousarray(keras.ops.convert_to_numpy(array)).tobytes())
    return hashed.hexdigest()


def copy_ema_weights(model: keras.Model, target: keras.Model) -> None:
    """Give `target`, a second model of the same recipe, the running means of the weights of `model`.

    What has no mean, such as the statistics of BatchNormalization, is copied as it is: in 8 epochs of airbench-64 on
    10,565 images of 32 px, means of the statistics changed val_loss by 2 % of it in the third epoch, by 0.1 % in the
    last, where the learning rate is 0. keras.callbacks.SwapEMAWeights
    swaps by adding and subtracting, which rounds: weights would depend on how often a training was validated.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of the loss scaling for 16 bits
    means = optimizer._model_variables_moving_average
    mean_of = {id(variable): mean for variable, mean in zip(model.trainable_variables, means, strict=True)}
    for source, copy in zip(model.weights, target.weights, strict=True):
        copy.assign(keras.ops.convert_to_numpy(mean_of.get(id(source), source)))
