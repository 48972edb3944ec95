"""A recipe's model, in the precision that it computes in, and compiled."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from dogbreed.models import registry
from dogbreed.models.common import disable_xla
from dogbreed.training.losses import label_loss, training_loss
from dogbreed.training.optimizer import make_optimizer
from dogbreed.training.recipe import Recipe

BFLOAT16 = (8, 0)  # lowest compute capability with bfloat16 in tensor cores: Ampere


def resolve_precision(precision: str) -> str:
    """Return the name of Keras' dtype policy behind a recipe's precision on this machine."""
    if precision != "auto":
        return precision
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "float32"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    lowest = min(found.get("compute_capability", (0, 0)) for found in details)
    return "mixed_bfloat16" if lowest >= BFLOAT16 else "mixed_float16"


def resolve_xla(xla: str) -> bool:
    """Return whether XLA compiles the steps of a recipe with this setting on this machine."""
    if xla != "auto":
        return xla == "on"
    return bool(tf.config.get_visible_devices("GPU"))  # 0.57x on a CPU


@contextmanager
def dtype_policy_scope(name: str) -> Iterator[None]:
    """Build layers that compute in `name`; their weights stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_model(recipe: Recipe, classes: int) -> keras.Model:
    """Return the recipe's model with random weights."""
    with dtype_policy_scope(resolve_precision(recipe.precision)):
        return disable_xla(registry.build(recipe.model, recipe.size, classes, recipe.dropout))


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    optimizer: keras.optimizers.Optimizer,
    steps_per_execution: int = 1,
    is_head: bool = False,
) -> None:
    """Give the model its loss and its optimizer, which Keras wraps in loss scaling where it computes in float16.

    is_head: whether it is a head alone, which learns from labels also where the whole model has a teacher.
    """
    model.compile(
        optimizer=optimizer,
        loss=label_loss(recipe) if is_head else training_loss(recipe),
        steps_per_execution=steps_per_execution,
        jit_compile=resolve_xla(recipe.xla),
    )


def build_and_compile(recipe: Recipe, classes: int, steps: int) -> keras.Model:
    """Return the recipe's model with random weights, compiled for epochs of `steps` batches."""
    model = build_model(recipe, classes)
    compile_model(model, recipe, make_optimizer(recipe, steps, {}))
    return model
