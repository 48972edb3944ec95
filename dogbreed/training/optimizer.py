"""AdamW with a warm-up, a cosine and, where asked, layers that learn at rates of their own."""

from collections.abc import Mapping
from typing import Any

import keras

from dogbreed.training.recipe import Recipe

UNDECAYED = ("bias", "gamma", "beta")  # words in the names of variables that keep their size


class LayerwiseAdamW(keras.optimizers.Adam):
    """AdamW whose variables may learn and decay at lower rates (Howard & Ruder 2018, arXiv:1801.06146)."""

    def __init__(self, *arguments: Any, decay: float, factors: Mapping[str, float], **others: Any) -> None:
        """decay: of kernels. factors: path of a variable -> what its learning rate is multiplied by, 1 for others."""
        super().__init__(*arguments, **others)  # the decay of Keras' AdamW knows one rate only
        self._decay, self._factors = decay, dict(factors)

    def build(self, variables: list[keras.Variable]) -> None:
        """Meet the variables, in the order by which `update_step` knows them."""
        super().build(variables)
        self._ordered = [self._factors.get(variable.path, 1.0) for variable in variables]
        self._decays = [not any(word in variable.name for word in UNDECAYED) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable, which is TensorFlow's here and has no path."""
        place = self._get_variable_index(variable)
        rate = keras.ops.cast(learning_rate, variable.dtype) * self._ordered[place]
        if self._decay and self._decays[place]:
            self.assign_sub(variable, variable * (self._decay * rate))
        super().update_step(gradient, variable, rate)

    def _all_reduce_sum_gradients(self, gradients: Any) -> Any:
        """Leave the sum over replicas to who takes the steps: here, each would have been clipped by itself."""
        return gradients


def adamw(recipe: Recipe, steps: int, factors: Mapping[str, float]) -> keras.optimizers.Optimizer:
    """Return the optimizer of a training with `steps` batches an epoch."""
    total = recipe.epochs * steps
    warmup = min(round(recipe.warmup_epochs * steps), total // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 100 if warmup else recipe.learning_rate,
        decay_steps=max(1, total - warmup),
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return LayerwiseAdamW(
        schedule,
        decay=recipe.weight_decay,
        global_clipnorm=recipe.clip or None,
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema or 0.99,
        factors=factors,
    )
