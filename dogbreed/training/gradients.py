"""Gradients of a batch, on one device or of one replica's part, and their sum over all replicas."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from dogbreed.models.common import leaf_layers


class Gradients(NamedTuple):
    """Results of one forward and backward pass."""

    gradients: list[tf.Tensor]  # of the trainable variables, float32, times the optimizer's loss scale
    statistics: list[tf.Tensor]  # new values of `batchnorm_statistics`; [] where the layers have assigned them
    loss: tf.Tensor  # mean over the images, divided by the number of replicas, []
    probabilities: tf.Tensor  # [n, classes]


def compute_gradients(
    model: keras.Model, images: tf.Tensor, labels: tf.Tensor, sample_weights: tf.Tensor | None
) -> Gradients:
    """Run the compiled model forward and backward; its layers update their state."""
    with tf.GradientTape() as tape:
        probabilities = model(images, training=True)
        # Keras divides it by the number of replicas; the weights of images are those of class_weights.py
        loss = model.compute_loss(images, labels, probabilities, sample_weights)
        scaled = model.optimizer.scale_loss(loss)
    return Gradients(tape.gradient(scaled, model.trainable_variables), [], loss, probabilities)


class ReplicaGradients:
    """`compute_gradients` of one replica's part of a batch as one function without side effects, which XLA can compile.

    XLA cannot compile a whole step of several replicas: their sums hang in it (tensorflow#61314). Each replica
    normalizes by the statistics of its own images.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        places = {id(variable): place for place, variable in enumerate(model.non_trainable_variables)}
        self.statistics = batchnorm_statistics(model)
        self._statistics = [places[id(variable)] for variable in self.statistics]
        integers = (variable for variable in model.non_trainable_variables if "int" in variable.dtype)
        self._seeds = [places[id(variable)] for variable in integers]
        self._compute = tf.function(self._run, autograph=False, jit_compile=model.jit_compile)

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, sample_weights: tf.Tensor | None) -> Gradients:
        """Return the gradients, and advance the seeds of random layers."""
        model = self._model
        # values, not variables: a traced function would take those of the replica for which it was traced
        trainable, state = _values(model.trainable_variables), _values(model.non_trainable_variables)
        scale = model.optimizer.scale_loss(tf.constant(1.0))
        found: Gradients
        found, seeds = self._compute(trainable, state, scale, images, labels, sample_weights)
        for place, seed in zip(self._seeds, seeds, strict=True):
            model.non_trainable_variables[place].assign(seed)
        return found

    def _run(
        self,
        trainable: list[tf.Tensor],
        state: list[tf.Tensor],
        scale: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
        sample_weights: tf.Tensor | None,
    ) -> tuple[Gradients, list[tf.Tensor]]:
        model = self._model
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            probabilities, after = model.stateless_call(trainable, state, images, training=True)
            loss = model.compute_loss(images, labels, probabilities, sample_weights)
            scaled = loss * scale
        statistics, seeds = [after[place] for place in self._statistics], [after[place] for place in self._seeds]
        return Gradients(tape.gradient(scaled, trainable), statistics, loss, probabilities), seeds


def use_sync_batchnorm(model: keras.Model) -> None:
    """Let BatchNormalization take its statistics from the whole batch, not from one replica's part of it."""
    for layer in _batchnorm_layers(model):
        layer.synchronized = True  # read when the layer is called


def has_sync_batchnorm(model: keras.Model) -> bool:
    """Return whether a trainable BatchNormalization layer is synchronized."""
    return any(layer.synchronized for layer in _batchnorm_layers(model))


def batchnorm_statistics(model: keras.Model) -> list[keras.Variable]:
    """Return the running means and variances of the BatchNormalization layers that learn."""
    return [variable for layer in _batchnorm_layers(model) for variable in layer.non_trainable_variables]


def _batchnorm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the trainable BatchNormalization layers."""
    layers = [layer for layer in leaf_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    return [layer for layer in layers if layer.trainable]


def sum_over_replicas(tensors: Any) -> Any:
    """Return the sums over all replicas of nested float32 tensors, packed into one all-reduce.

    Call it in the context of a replica.
    """
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return tensors
    flat = tf.nest.flatten(tensors)
    packed = replica.all_reduce("SUM", tf.concat([tf.reshape(tensor, [-1]) for tensor in flat], axis=0))
    parts = tf.split(packed, [tensor.shape.num_elements() for tensor in flat])
    sums = [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, flat, strict=True)]
    return tf.nest.pack_sequence_as(tensors, sums)


def _values(variables: list[keras.Variable]) -> list[tf.Tensor]:
    """Return the values on this replica."""
    return [tf.convert_to_tensor(variable.value) for variable in variables]
