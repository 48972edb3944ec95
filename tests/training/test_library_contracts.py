"""What the code takes for granted of private or undocumented parts of Keras and TensorFlow, name by name.

When a test fails after an upgrade, the code that uses the name is wrong, too, perhaps without an error of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def replicated() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.replicated_optimizers"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_keras_sums_gradients_over_replicas_in_all_reduce_sum_gradients_and_nowhere_else(
    replicated: dict[str, Any],
) -> None:
    """The first replica's variables: by 1 + 2 and 10 + 20 as Keras does it, by its own 1 and 10 when it is overridden.

    If the sum moved to another method, the override would have no effect and gradients would be summed twice.
    """
    assert replicated["keras"] == [-3, -30]
    assert replicated["overridden"] == [-1, -10]


def test_our_optimizer_takes_the_gradients_as_they_are(replicated: dict[str, Any]) -> None:
    """Also _get_variable_index, which tells by the variable of one replica which of the model's it is."""
    assert replicated["seen_by_ours"] == [[0, 1], [0, 2], [1, 10], [1, 20]]


def test_worker_devices_are_those_of_this_process(replicated: dict[str, Any]) -> None:
    assert replicated["worker_devices"] == 2


def variables(*values: float) -> list[keras.Variable]:
    return [keras.Variable(float(value)) for value in values]


def test_get_variable_index_is_the_place_in_build_of_kerass_and_of_tensorflows_variable() -> None:
    built, optimizer = variables(1, 2, 3), keras.optimizers.Adam()
    optimizer.build(built)
    assert [optimizer._get_variable_index(variable) for variable in built] == [0, 1, 2]
    assert [optimizer._get_variable_index(variable.value) for variable in built] == [0, 1, 2]


def test_update_step_gets_the_variable_of_tensorflow_and_the_clipped_gradient() -> None:
    seen = []

    class Recorded(keras.optimizers.SGD):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            seen.append((type(variable).__module__.partition(".")[0], float(gradient), float(learning_rate)))

    built = variables(1, 2)
    Recorded(0.5, global_clipnorm=1).apply([tf.constant(3.0), tf.constant(4.0)], built)
    assert [module for module, _, _ in seen] == ["tensorflow"] * 2
    assert [gradient for _, gradient, _ in seen] == pytest.approx([0.6, 0.8])
    assert [rate for _, _, rate in seen] == [0.5] * 2


def test_model_variables_moving_average_has_the_means_in_the_order_of_the_variables() -> None:
    built, optimizer = variables(1, 2), keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.9)
    optimizer.apply([tf.constant(0.0)] * 2, built)  # the first mean is the variable itself
    optimizer.apply([tf.constant(1.0), tf.constant(2.0)], built)  # they are 0 now
    means = [float(keras.ops.convert_to_numpy(mean)) for mean in optimizer._model_variables_moving_average]
    assert means == pytest.approx([0.9, 1.8])


def test_a_loss_scaling_optimizer_has_ours_as_inner_optimizer() -> None:
    inner = keras.optimizers.SGD()
    assert keras.optimizers.LossScaleOptimizer(inner).inner_optimizer is inner


def test_train_function_takes_steps_per_execution_batches_and_returns_the_means_so_far() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)])
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=2)
    truth = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    batches = iter(tf.data.Dataset.from_tensor_slices((np.ones_like(truth), truth)).batch(1))
    model.make_train_function()
    assert float(model.train_function(batches)["loss"]) == (1 + 4) / 2
    assert float(model.train_function(batches)["loss"]) == (1 + 4 + 9 + 16) / 4
