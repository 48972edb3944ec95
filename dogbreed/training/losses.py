"""Losses: cross-entropy with labels, divergence from a teacher's probabilities."""

import keras
import tensorflow as tf

from dogbreed.training.recipe import Recipe

TINY = 1e-30  # float32; the gradient of a smaller probability would overflow


def soften(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the probabilities, float32 [n, classes], that follow from logits divided by the temperature."""
    return tf.nn.softmax(_divided_logits(probabilities, temperature))


class DistillationLoss(keras.losses.Loss):
    """T squared times the Kullback-Leibler divergence of the student's softened probabilities from the teacher's.

    The factor keeps the gradients' size at any temperature T (Hinton et al., arXiv:1503.02531, section 2.1).
    """

    def __init__(self, temperature: float) -> None:
        super().__init__(name="distillation")
        self._temperature = temperature

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return float32 [n].

        Args:
            y_true: the teacher's softened probabilities, or a mix of them, float32 [n, classes].
            y_pred: the student's probabilities, not softened, float32 [n, classes].
        """
        logarithms = tf.nn.log_softmax(_divided_logits(y_pred, self._temperature))
        divergence = tf.reduce_sum(tf.math.xlogy(y_true, y_true) - y_true * logarithms, axis=-1)
        return self._temperature**2 * divergence


def _divided_logits(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return logits, up to a constant for each image, divided by the temperature."""
    return tf.math.log(tf.maximum(probabilities, TINY)) / temperature


def training_loss(recipe: Recipe) -> keras.losses.Loss:
    """Return the loss of the whole model: with a teacher the divergence from its probabilities."""
    return DistillationLoss(recipe.distillation.temperature) if recipe.has_teacher else label_loss(recipe)


def label_loss(recipe: Recipe) -> keras.losses.Loss:
    """Return the cross-entropy with one-hot or mixed labels."""
    return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)


def validation_loss(loss: keras.losses.Loss) -> keras.losses.Loss:
    """Return the loss by which a model trained with `loss` is validated: always one of labels."""
    return keras.losses.CategoricalCrossentropy() if isinstance(loss, DistillationLoss) else loss
