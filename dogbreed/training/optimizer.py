"""AdamW and SGD with a linear warm-up, a cosine decay and, in fine-tuning, a learning rate for each layer.

Muon is left out: keras.optimizers.Muon (3.15) takes a Muon step for variables of two dimensions only, and an AdamW step
for all others: of a convolutional network, that is every kernel but the last layer's, for which Muon is not meant.
"""

from collections.abc import Mapping
from typing import Any

import keras

from dogbreed.training.recipe import Recipe

EMA_WARMUP = 9  # running means of weights: at first of about the last tenth of all steps (tf.train's, num_updates)
UNDECAYED = ("bias", "gamma", "beta")  # words in the names of variables that keep their size
MOMENTUM = 0.9  # of SGD (Sutskever et al. 2013)


class LayerwiseOptimizer(keras.optimizers.Optimizer):
    """What AdamW and SGD share: variables may learn and decay at lower rates (Howard & Ruder 2018, arXiv:1801.06146).

    Weight decay is decoupled from the gradients (Loshchilov & Hutter, arXiv:1711.05101): each step multiplies a kernel
    by 1 - rate * decay. As an L2 penalty of `penalty`, SGD with momentum 0.9 decays about as by 10 * penalty here.
    """

    def __init__(self, *arguments: Any, decay: float, scales: Mapping[str, float], **others: Any) -> None:
        """decay: of kernels. scales: path of a variable -> what its learning rate is multiplied by, 1 for others."""
        super().__init__(*arguments, **others)  # the decay of Keras' optimizers knows one rate only
        self._decay, self._scales = decay, dict(scales)

    def build(self, variables: list[keras.Variable]) -> None:
        """Note the scale of each variable, in the order by which `update_step` knows them."""
        super().build(variables)
        self._scale_at = [self._scales.get(variable.path, 1.0) for variable in variables]
        self._is_decayed = [not any(word in variable.name for word in UNDECAYED) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable, which is TensorFlow's here and has no path."""
        place = self._get_variable_index(variable)
        rate = keras.ops.cast(learning_rate, variable.dtype) * self._scale_at[place]
        if self._decay and self._is_decayed[place]:
            self.assign_sub(variable, variable * (self._decay * rate))
        super().update_step(gradient, variable, rate)

    def _update_model_variables_moving_average(self, variables: list[keras.Variable]) -> None:
        """Let the means forget faster in the first steps: Keras' would be mostly initial weights for long."""
        earlier = keras.ops.cast(self.iterations, "float32")  # 0: the mean becomes the weights
        momentum = keras.ops.minimum(self.ema_momentum, earlier / (earlier + EMA_WARMUP))
        for variable, mean in zip(variables, self._model_variables_moving_average, strict=True):
            mean.assign(momentum * mean + (1 - momentum) * variable)

    def _all_reduce_sum_gradients(self, gradients: Any) -> Any:
        """Return the gradients as they are: train_step has summed them over replicas, before they are clipped."""
        return gradients


class LayerwiseAdamW(LayerwiseOptimizer, keras.optimizers.Adam):
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101)."""


class LayerwiseSGD(LayerwiseOptimizer, keras.optimizers.SGD):
    """SGDW (Loshchilov & Hutter, arXiv:1711.05101) with Nesterov momentum."""


def make_optimizer(recipe: Recipe, steps: int, scales: Mapping[str, float]) -> keras.optimizers.Optimizer:
    """Return the optimizer of a training with `steps` batches an epoch."""
    total = recipe.epochs * steps
    warmup = min(round(recipe.warmup_epochs * steps), total // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 100 if warmup else recipe.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    settings: dict[str, Any] = {
        "decay": recipe.weight_decay,
        "global_clipnorm": recipe.global_clipnorm or None,
        "use_ema": recipe.ema_decay > 0,
        "ema_momentum": recipe.ema_decay or 0.99,
        "scales": scales,
    }
    if recipe.optimizer == "sgd":
        return LayerwiseSGD(schedule, momentum=MOMENTUM, nesterov=True, **settings)
    return LayerwiseAdamW(schedule, **settings)
