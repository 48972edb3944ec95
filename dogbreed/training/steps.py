"""One step: from a batch to the gradient and the new weights, for one device and for replicas; and its evaluation."""

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core import signals
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.gradients import (
    ReplicaGradients,
    compute_gradients,
    has_sync_batchnorm,
    sum_over_replicas,
)
from dogbreed.training.losses import validation_loss
from dogbreed.training.state import Sums

METRICS = ("loss", "top1", "top5")


class MetricSums:
    """Totals and counts of METRICS, which stay on the device until they are read.

    Created within the scope of a strategy, the variable has one copy per replica, and each adds the values of the whole
    batch.
    """

    def __init__(self) -> None:
        self._variable = tf.Variable(
            tf.zeros([len(METRICS), 2]),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def add(self, values: tf.Tensor) -> None:
        """Add float32 [3, 2]: for each metric, its total over a batch and the number of examples."""
        self._variable.assign_add(values)

    def snapshot(self) -> tf.Tensor:
        """Return the present totals and counts, float32 [3, 2], on the device: nothing waits for them."""
        return self._variable.read_value()

    def read(self, snapshot: tf.Tensor | None = None) -> Sums:
        """Return the totals and counts, of a snapshot or the present ones: one read, which waits for their steps."""
        values = np.array(self.snapshot() if snapshot is None else snapshot)
        return {name: [float(number) for number in row] for name, row in zip(METRICS, values, strict=True)}

    def assign(self, sums: Sums) -> None:
        """Go on from what `read` gave; {} starts from zero."""
        self._variable.assign([sums.get(name, [0.0, 0.0]) for name in METRICS])


def means(sums: Sums) -> dict[str, float]:
    """Return the mean of each metric; NaN without examples."""
    return {name: total / count if count else float("nan") for name, (total, count) in sums.items()}


def subtract(sums: Sums, before: Sums) -> Sums:
    """Return what was added to `before` to give `sums`; {} stands for zeros."""
    zero = (0.0, 0.0)
    return {
        name: [now - then for now, then in zip(pair, before.get(name, zero), strict=True)]
        for name, pair in sums.items()
    }


def batch_sums(loss: tf.Tensor, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return what a batch adds to MetricSums, float32 [3, 2].

    Args:
        loss: mean over the batch, [].
        labels: one-hot or mixed, [n, classes].
        probabilities: [n, classes].
    """
    count = tf.cast(tf.shape(labels)[0], tf.float32)
    top1 = tf.reduce_sum(keras.metrics.categorical_accuracy(labels, probabilities))
    top5 = tf.reduce_sum(keras.metrics.top_k_categorical_accuracy(labels, probabilities, k=5))
    return tf.stack([[loss * count, count], [top1, count], [top5, count]])


def make_train_step(model: keras.Model, sums: MetricSums, distribution: DistributedContext) -> Any:
    """Return the tf.function that learns from one batch of the compiled model and adds its metrics to `sums`.

    With steps_per_execution above 1, it takes an iterator instead and learns from that many of its next batches. A
    batch is (images, labels) or (images, labels, weights). Keras' own train function is not used: it fails under
    MultiWorkerMirroredStrategy (keras#20585) and, repaired, returns the metrics of each worker's part only.
    """
    optimizer = model.optimizer
    separate = ReplicaGradients(model) if distribution.is_replicated and not has_sync_batchnorm(model) else None
    compute, running = (separate, separate.statistics) if separate else (partial(compute_gradients, model), [])

    def train_step(batch: tuple[tf.Tensor, ...]) -> None:
        images, labels, sample_weights = keras.utils.unpack_x_y_sample_weight(batch)
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        found = compute(images, labels, sample_weights)
        values = batch_sums(found.loss * replicas, labels, found.probabilities)
        # summed before gradient clipping, and before the loss-scale optimizer checks for overflow
        gradients, statistics, values = sum_over_replicas((found.gradients, found.statistics, values))
        optimizer.apply(gradients, model.trainable_variables)
        for variable, total in zip(running, statistics, strict=True):
            variable.assign(total / replicas)
        sums.add(values)

    step = distribution.compile_step(train_step, jit_compile=model.jit_compile)
    if model.steps_per_execution == 1:
        return step

    def train_steps(batches: tf.data.Iterator) -> None:
        def take_step(taken: tf.Tensor) -> tuple[tf.Tensor]:
            step(batches.get_next())
            return (taken + 1,)

        tf.while_loop(lambda taken: taken < model.steps_per_execution, take_step, (tf.constant(0),))

    return tf.function(train_steps, autograph=False)


class Evaluator:
    """Computes a model's metrics on a dataset, each process on a part of the batches and on one device."""

    def __init__(self, model: keras.Model, phase_model: keras.Model, distribution: DistributedContext) -> None:
        """phase_model: the compiled one, for its loss; `model` is it, or the one with the means of its weights."""
        loss_of, sums = validation_loss(phase_model.loss), MetricSums()

        def eval_step(batch: tuple[tf.Tensor, ...]) -> None:
            images, labels = batch
            probabilities = model(images, training=False)
            sums.add(batch_sums(loss_of(labels, probabilities), labels, probabilities))

        self._distribution, self._sums = distribution, sums
        jit_compile = phase_model.jit_compile and distribution.name == "single"
        self._step = tf.function(eval_step, autograph=False, jit_compile=jit_compile)

    def trace(self, batches: tf.data.Dataset) -> None:
        """Build the graph for batches like these."""
        self._step.get_concrete_function(batches.element_spec)

    def evaluate(self, batches: tf.data.Dataset) -> dict[str, float]:
        """Return the means over all batches (images, labels).

        Raises:
            ShutdownRequested: between two batches, after a signal.
        """
        self._sums.assign({})
        for batch in self._distribution.prefetch(self._distribution.shard(batches)):
            signals.raise_if_requested()
            self._step(batch)
        sums = self._sums.read()
        flat = iter(self._distribution.all_reduce_sum([number for pair in sums.values() for number in pair]))
        return means({name: [next(flat), next(flat)] for name in sums})
