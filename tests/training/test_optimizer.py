"""Optimizers of recipes: SGD with decoupled decay, and running means of weights that forget the first steps."""

import keras
import pytest
import tensorflow as tf

from dogbreed.training.optimizer import LayerwiseAdamW, LayerwiseSGD, make_optimizer
from dogbreed.training.recipe import Recipe


def variable(value: float, name: str) -> keras.Variable:
    return keras.Variable(value, name=name)


def test_a_recipe_names_its_optimizer() -> None:
    for name, kind in (("adamw", LayerwiseAdamW), ("sgd", LayerwiseSGD)):
        assert type(make_optimizer(Recipe("plain", "simple", 64, optimizer=name), 10, {})) is kind


def test_sgd_decays_kernels_apart_from_its_nesterov_momentum() -> None:
    slow, kernel, bias = variable(1.0, "slow_kernel"), variable(1.0, "kernel"), variable(1.0, "bias")
    optimizer = LayerwiseSGD(0.1, momentum=0.9, nesterov=True, decay=0.5, scales={slow.path: 0.1})
    optimizer.apply([tf.constant(1.0)] * 3, [slow, kernel, bias])
    optimizer.apply([tf.constant(0.0)] * 3, [slow, kernel, bias])
    # Nesterov: 1.9 rates at the step of the gradient, 0.81 at the next; before each, decay of half a rate
    expected = [((1 - r / 2) - 1.9 * r) * (1 - r / 2) - 0.81 * r for r in (0.01, 0.1)]
    assert [float(slow.numpy()), float(kernel.numpy())] == pytest.approx(expected)
    assert float(bias.numpy()) == pytest.approx(1 - 0.1 * (1.9 + 0.81))


def means_of_a_ramp(momentum: float, steps: int) -> list[float]:
    """Return the running mean after each step in which the weight grows by 1."""
    weight = variable(0.0, "kernel")
    optimizer = LayerwiseSGD(1.0, decay=0.0, scales={}, use_ema=True, ema_momentum=momentum)
    found = []
    for _ in range(steps):
        optimizer.apply([tf.constant(-1.0)], [weight])
        found.append(float(keras.ops.convert_to_numpy(optimizer._model_variables_moving_average[0])))
    return found


def test_running_means_begin_at_the_first_weights_and_forget_them() -> None:
    found = means_of_a_ramp(0.999, 40)
    assert found[:3] == pytest.approx([1.0, 0.1 * 1 + 0.9 * 2, 2 / 11 * 1.9 + 9 / 11 * 3])
    assert 40 - found[-1] == pytest.approx(39 / 10, rel=0.1)  # a tenth of the steps behind, not most of them


def test_running_means_reach_the_momentum_of_the_recipe() -> None:
    assert 60 - means_of_a_ramp(0.8, 60)[-1] == pytest.approx(0.8 / 0.2, rel=0.01)
