"""Apply one replica's gradients after another by several optimizers on two logical CPU devices, and print what came.

A process of its own, since devices stay.
"""

import json
from typing import Any

import keras
import tensorflow as tf

from dogbreed.training.optimizer import LayerwiseAdamW


class Overridden(keras.optimizers.SGD):
    """Takes gradients that are summed already."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars


class Recorded(LayerwiseAdamW):
    """Ours; keeps the gradients that its `update_step` sees, by the index of their variable."""

    def __init__(self) -> None:
        super().__init__(0.1, decay=0.0, scales={})
        self.seen: list[tuple[int, float]] = []

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.seen.append((self._get_variable_index(variable), float(gradient)))
        super().update_step(gradient, variable, learning_rate)


def apply(strategy: tf.distribute.Strategy, optimizer: keras.optimizers.Optimizer) -> list[float]:
    """Return two variables, 0 before, when replica 0 gave them gradients of 1 and 10, replica 1 of 2 and 20."""
    variables = [keras.Variable(0.0, name=name) for name in ("first", "second")]
    optimizer.build(variables)

    def step() -> None:
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group + 1, tf.float32)
        optimizer.apply([number, 10 * number], variables)

    strategy.run(step)
    return [float(keras.ops.convert_to_numpy(variable)) for variable in variables]


def main() -> None:
    """Print what each optimizer made of the same gradients."""
    cpu, two = tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        ours = Recorded()
        found = {
            "worker_devices": len(strategy.extended.worker_devices),
            "keras": apply(strategy, keras.optimizers.SGD(1.0)),
            "overridden": apply(strategy, Overridden(1.0)),
        }
        apply(strategy, ours)
    print(json.dumps(found | {"seen_by_ours": sorted(ours.seen)}))


if __name__ == "__main__":
    main()
