"""Trace a training step on two logical CPU devices and print what it consists of; in a process of its own.

Given `run`, it also takes two steps, and prints whether the replicas have the same variables afterwards.
"""

import json
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.cross_device_ops import CrossDeviceOps

from dogbreed.training.build import build_model, compile_model
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.gradients import batchnorm_statistics
from dogbreed.training.optimizer import make_optimizer
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.training.steps import MetricSums, make_train_step
from dogbreed.workflows.batch_size_trial import random_batches

CLASSES = 4
all_reduced: list[int] = []  # number of tensors of each call


def count_all_reduces() -> None:
    """Note each call by which a strategy reduces tensors."""
    batch_reduce, reduce = CrossDeviceOps.batch_reduce, CrossDeviceOps.reduce

    def counted_batch(self: Any, op: Any, pairs: list[Any], *others: Any, **named: Any) -> Any:
        all_reduced.append(len(pairs))
        return batch_reduce(self, op, pairs, *others, **named)

    def counted(self: Any, *others: Any, **named: Any) -> Any:
        all_reduced.append(1)
        return reduce(self, *others, **named)

    CrossDeviceOps.batch_reduce, CrossDeviceOps.reduce = counted_batch, counted


def compiled(recipe: Recipe, distribution: DistributedContext) -> tuple[keras.Model, MetricSums]:
    with distribution.scope():
        model = build_model(recipe, CLASSES)
        compile_model(model, recipe, make_optimizer(recipe, 10, {}))
        model.optimizer.build(model.trainable_variables)
        return model, MetricSums()


def xla_computations(graph: tf.Graph) -> list[str]:
    """Return the device of each call of a function that XLA compiles."""
    calls = [operation for operation in graph.get_operations() if operation.type.endswith("PartitionedCall")]
    compiled = [call for call in calls if "_XlaMustCompile" in call.node_def.attr]
    return [call.device for call in compiled if call.get_attr("_XlaMustCompile")]


def mean_statistics(model: keras.Model, recipe: Recipe) -> list[np.ndarray]:
    """Return what BatchNormalization's statistics are after a step: means over those of each half of the batch."""
    images, _ = next(iter(random_batches(recipe, CLASSES)))
    halves = []
    for half in tf.split(images, 2):
        alone = build_model(recipe, CLASSES)
        alone.set_weights(model.get_weights())
        alone(half, training=True)
        halves.append([np.array(variable) for variable in batchnorm_statistics(alone)])
    return [np.mean(both, axis=0) for both in zip(*halves, strict=True)]


def are_equal(strategy: tf.distribute.Strategy, variables: list[keras.Variable]) -> bool:
    """Tell whether every replica has the same values."""
    copies = [strategy.experimental_local_results(variable.value) for variable in variables]
    return all(np.array_equal(first.numpy(), second.numpy()) for first, second in copies)


def main(name: str, size: str, xla: str, *run: str) -> None:
    """Print the number of all-reduces, of their tensors, and of XLA computations of a step."""
    cpu, two = tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    recipe = apply_overrides(get_recipe("simple-64"), [f"model={name}", f"size={size}", "batch_size=8", f"xla={xla}"])
    distribution = DistributedContext("mirrored", devices=("CPU:0", "CPU:1"))
    distribution.join()
    model, sums = compiled(recipe, distribution)
    iterator = distribution.iterate(random_batches(recipe, CLASSES), recipe.batch_size)
    step = make_train_step(model, sums, distribution)
    count_all_reduces()
    graph = step.get_concrete_function(iterator.element_spec).graph
    found: dict[str, Any] = {"all_reduces": all_reduced, "xla": sorted(xla_computations(graph))}
    if run:
        expected = mean_statistics(model, recipe)
        step(next(iterator))
        after = [np.array(variable) for variable in batchnorm_statistics(model)]
        found["difference"] = max(float(np.abs(a - b).max()) for a, b in zip(after, expected, strict=True))
        step(next(iterator))
        found["equal"] = are_equal(distribution.strategy, model.variables)
        found["examples"] = sums.read()["loss"][1]
        alone = DistributedContext(devices=("CPU:1",)).iterate(random_batches(recipe, CLASSES), recipe.batch_size)
        found["prefetched"] = next(alone)[0].device.rpartition(":")[2]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
