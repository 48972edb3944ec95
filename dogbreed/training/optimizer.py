"""AdamW with a warm-up, a cosine and, where asked, layers that learn at rates of their own."""

from collections.abc import Mapping
from typing import Any

import keras

from dogbreed.training.recipe import Recipe


class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW whose variables may learn more slowly than the schedule says (Howard & Ruder 2018, arXiv:1801.06146)."""

    def __init__(self, *arguments: Any, factors: Mapping[str, float], **others: Any) -> None:
        """factors: path of a variable -> what its learning rate is multiplied by; 1 where it is not named."""
        super().__init__(*arguments, **others)
        self._factors = dict(factors)

    def build(self, variables: list[keras.Variable]) -> None:
        """Meet the variables, in the order by which `update_step` knows them."""
        super().build(variables)
        self._ordered = [self._factors.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable, which is TensorFlow's here and has no path."""
        factor = self._ordered[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


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
    optimizer = LayerwiseAdamW(
        schedule,
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clip or None,
        use_ema=recipe.ema > 0,
        ema_momentum=recipe.ema or 0.99,
        factors=factors,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
