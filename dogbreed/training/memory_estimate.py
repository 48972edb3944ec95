"""Estimate of the host memory that a training needs, part by part, checked before it begins."""

import logging
import math
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.core.resources import GIB, cores, memory_limit
from dogbreed.data.input_pipeline import IMAGES_PER_CORE, InputPipeline
from dogbreed.data.splits import TRAIN
from dogbreed.data.train_source import SHUFFLE_BLOCK
from dogbreed.models.common import leaf_layers
from dogbreed.training.recipe import Recipe

LIBRARIES = int(1.35 * GIB)  # TensorFlow, MLflow, pictures: the peak of simple-64 (bench.memory) less its other parts
CUDA = int(1.5 * GIB)  # context and libraries of CUDA; an estimate, not measured
HOST_COPIES = (
    8  # copies of the weights on a machine with a GPU: a snapshot with moments and means, its file, the best weights
)
BLOCKS = 4  # of encoded images: one is decoded; the next is read, shuffled and parsed, and each is a copy
TARGET_COPIES = 3  # of a teacher's probabilities, float32: of each view, of all, and softened
BATCHES_AHEAD = 6  # two prefetched by an epoch, two by all of them, one with its labels, one in the model

log = logging.getLogger(__name__)


def estimate(model: keras.Model, recipe: Recipe, pipeline: InputPipeline) -> dict[str, int]:
    """Return the bytes that each part of a training of the compiled model needs, at most, in the host's memory."""
    pixels, images = 3 * recipe.size**2, recipe.batch_size // pipeline.batch_shard.workers
    parts = {
        "libraries": LIBRARIES,
        "shuffled images": BLOCKS * SHUFFLE_BLOCK * pipeline.mean_example_bytes(TRAIN),
        "images in work": IMAGES_PER_CORE * cores() * pixels,
        "batches ahead": BATCHES_AHEAD * images * pixels,
        "decoded images": pipeline.num_examples(TRAIN) * pixels if recipe.cache == "memory" else 0,
    }
    if recipe.has_teacher:
        values = recipe.distillation.views * pipeline.num_examples(TRAIN) * model.output.shape[-1]
        parts["teacher's probabilities"] = TARGET_COPIES * 4 * values
    if tf.config.get_visible_devices("GPU"):  # in its own memory lie the model, its gradients and activations
        return parts | {"CUDA": CUDA, "weights": HOST_COPIES * 4 * int(model.count_params())}
    return parts | {"weights": _weights(model, recipe.ema_decay > 0), "activations": images * _activations(model)}


def check(parts: Mapping[str, int], recipe: Recipe) -> None:
    """Raise EnvironmentUnsupported, with settings that would fit, when the parts are more than this process may use."""
    limit, total = memory_limit(), sum(parts.values())
    log.info("memory: about %.1f of %.1f GiB", total / GIB, limit / GIB)
    if total <= limit:
        return
    listed = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items() if size > 0.05 * GIB)
    advice = []
    if parts["decoded images"]:
        advice.append("--cache disk or none")
    if parts.get("teacher's probabilities", 0) > limit / 4:
        advice.append("fewer --set distillation.views")
    rest = limit - (total - parts["decoded images"])
    per_image = (parts["batches ahead"] + parts.get("activations", 0)) / recipe.batch_size
    if rest < 0:
        fitting = recipe.batch_size + rest / per_image
        if fitting >= 1:
            advice.append(f"--batch-size {2 ** math.floor(math.log2(fitting))}")
        else:
            advice.append("a smaller recipe, or a larger memory limit of the container")
    raise EnvironmentUnsupported(
        f"training needs about {total / GIB:.1f} GiB ({listed}), {limit / GIB:.1f} GiB may be used; "
        f"use {' and '.join(advice)}"
    )


def _weights(model: keras.Model, ema: bool) -> int:
    """Return the bytes of weights, gradients and AdamW's two moments, all float32.

    ema: with the running means of the weights, and the second model that is evaluated with them.
    """
    trainable = sum(int(math.prod(weight.shape)) for weight in model.trainable_weights)
    weights = int(model.count_params())
    numbers = weights + 3 * trainable
    if ema:
        numbers += weights + trainable
    return 4 * numbers


def _activations(model: keras.Model) -> int:
    """Return the bytes of all layers' outputs for one image, which the backward pass needs again."""
    return sum(
        int(math.prod(output.shape[1:])) * np.dtype(tf.as_dtype(output.dtype).as_numpy_dtype).itemsize
        for layer in leaf_layers(model)
        for output in tf.nest.flatten(layer.output)
    )
