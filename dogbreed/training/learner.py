"""Who takes the steps of a phase: one device with Keras' own function, or all replicas of a model together."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dogbreed.training.distribution import Distribution
from dogbreed.training.phase import Phase

NAMES = ("loss", "top1", "top5")  # of a model's metrics; each has a total and a count


class Learner:
    """The compiled model of a phase and the sums of its metrics in the present epoch, on one device."""

    def __init__(self, phase: Phase, sums: Sequence[float]) -> None:
        """sums: of the metrics in the present epoch so far, [] for none."""
        self._model = model = phase.learning
        model.evaluate(phase.validation.take(1), verbose=0)  # makes the metrics' variables
        model.reset_metrics()
        model.make_train_function()
        for variable, value in zip(model.metrics_variables, sums, strict=False):
            variable.assign(value)

    def batches(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """Return the batches in the form that `step` takes."""
        return iter(dataset)

    def step(self, batches: Iterator[Any]) -> dict[str, float]:
        """Learn from the next `steps_per_execution` batches and return the epoch's metrics so far."""
        return {name: float(value) for name, value in self._model.train_function(batches).items()}

    def results(self) -> dict[str, float]:
        """Return the epoch's metrics so far."""
        return {name: float(value) for name, value in self._model.get_metrics_result().items()}

    def sums(self) -> list[float]:
        """Return what the metrics come from: total and count of each."""
        return [float(np.array(variable)) for variable in self._model.metrics_variables]

    def reset(self) -> None:
        """Begin an epoch."""
        self._model.reset_metrics()

    def evaluate(self, batches: tf.data.Dataset) -> dict[str, float]:
        """Return the metrics on all of these batches."""
        found = self._model.evaluate(batches, return_dict=True, verbose=0)
        return {name: float(value) for name, value in found.items()}


class ReplicatedLearner(Learner):
    """The same with a replica on each device of each worker.

    Keras' own step fails under MultiWorkerMirroredStrategy (keras#20585) and, mended, gives each worker the metrics of
    its own share. Here gradients and metrics are summed over all replicas: every worker has those of the whole batch.
    """

    def __init__(self, phase: Phase, sums: Sequence[float], distribution: Distribution) -> None:
        """sums: of the metrics in the present epoch so far, [] for none."""
        self._model, self._distribution = phase.learning, distribution
        self._sums = np.array(sums or [0.0] * 2 * len(NAMES))
        self._size = (phase.batch_size or 1) // distribution.workers
        # outside the strategy's scope: it shares the layers, but runs on one device and has metrics of its own
        self._alone = keras.Model(self._model.input, self._model.output)
        self._alone.compile(loss=self._model.loss, metrics=metrics(), jit_compile=False)
        self._execute = tf.function(self._executed)

    def batches(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        return self._distribution.spread(dataset, self._size)

    def step(self, batches: Iterator[Any]) -> dict[str, float]:
        self._sums = self._sums + self._execute(batches).numpy()
        return self.results()

    def results(self) -> dict[str, float]:
        return _means(self._sums)

    def sums(self) -> list[float]:
        return [float(value) for value in self._sums]

    def reset(self) -> None:
        self._sums = np.zeros_like(self._sums)

    def evaluate(self, batches: tf.data.Dataset) -> dict[str, float]:
        """Return the metrics on all of these batches; each worker answers to some of them."""
        own, sums = self._distribution.own(batches), [0.0] * 2 * len(NAMES)
        if int(own.cardinality()):
            self._alone.evaluate(own, verbose=0)
            sums = [float(np.array(variable)) for variable in self._alone.metrics_variables]
        return _means(np.array(self._distribution.summed(sums)))

    def _executed(self, batches: Iterator[Any]) -> tf.Tensor:
        strategy, sums = self._distribution.strategy, tf.zeros([2 * len(NAMES)])
        for _ in tf.range(self._model.steps_per_execution):
            found = strategy.run(self._learn, args=(next(batches),))
            sums += strategy.experimental_local_results(found)[0]
        return sums

    def _learn(self, batch: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Learn from one replica's part of a batch and return the sums of the whole batch's metrics."""
        model, context = self._model, tf.distribute.get_replica_context()
        photos, truth, weights = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            answer = model(photos, training=True)
            loss = model.compute_loss(photos, truth, answer, weights)  # Keras divides it by the number of replicas
            scaled = model.optimizer.scale_loss(loss)
        # before anything is decided by them: clipping, and whether 16 bits were enough
        gradients = context.all_reduce("SUM", tape.gradient(scaled, model.trainable_variables))
        model.optimizer.apply(gradients, model.trainable_variables)
        count = tf.cast(tf.shape(truth)[0], tf.float32)
        right = (
            keras.metrics.categorical_accuracy(truth, answer),
            keras.metrics.top_k_categorical_accuracy(truth, answer, k=5),
        )
        totals = [loss * count * context.num_replicas_in_sync, *map(tf.reduce_sum, right)]
        return context.all_reduce("SUM", tf.stack([value for total in totals for value in (total, count)]))


def learner(phase: Phase, sums: Sequence[float], distribution: Distribution) -> Learner:
    """Return who takes the steps of `phase`."""
    if distribution.name == "single":
        return Learner(phase, sums)
    return ReplicatedLearner(phase, sums, distribution)


def metrics() -> list[keras.metrics.Metric]:
    """Return the metrics that every model is compiled with, beside its loss."""
    return [keras.metrics.CategoricalAccuracy(name="top1"), keras.metrics.TopKCategoricalAccuracy(5, name="top5")]


def _means(sums: np.ndarray) -> dict[str, float]:
    return {name: float(total / count) for name, (total, count) in zip(NAMES, sums.reshape(-1, 2), strict=True)}
