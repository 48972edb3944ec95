"""Rows of `python -m bench.gpu` that train: jobs.train's own phase and loop on noise or on real input."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bench.gpu.utilization import UtilizationSampler
from dogbreed.core import rendezvous
from dogbreed.core.storage import open_store
from dogbreed.data.augment import Augment
from dogbreed.data.batch_shard import BatchShard
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.training import memory_estimate
from dogbreed.training.build import build_model
from dogbreed.training.checkpointer import NullCheckpointer
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.loop import TrainLoop
from dogbreed.training.out_of_memory import smaller_training_batch, translating_out_of_memory
from dogbreed.training.phases import full_phase
from dogbreed.training.progress import NullLogger, Progress
from dogbreed.training.recipe import Recipe, apply_overrides
from dogbreed.training.recipes import get_recipe
from dogbreed.training.resource_usage import ResourceUsage
from dogbreed.training.state import Phase
from dogbreed.training.strategy import resolve_strategy

CLASSES = 120
ENDLESS = "epochs=10000"  # more than is trained
MEMORY = 1024  # MiB of the GPU that is to be too small
LARGE = {"gpu": 256, "cpu": 1 << 20}  # images in a batch that does not fit into MEMORY, or into a machine's memory


@dataclass(frozen=True)
class Size:
    """How much one training is given to do."""

    steps: int  # an epoch at 224 px; smaller images get more, for about the same work
    epochs: int  # the first one traces and compiles, and is not measured
    batch_size: int  # 0: the recipe's


SIZES = {"gpu": Size(100, 3, 0), "cpu": Size(2, 2, 4)}


class Noise:
    """What a phase needs of an InputPipeline: the same batch of noise again and again."""

    batch_shard = BatchShard()

    def __init__(self, recipe: Recipe, steps: int) -> None:
        self._shape, self._steps = (recipe.batch_size, recipe.size, recipe.size, 3), steps

    def steps_per_epoch(self, split: str) -> int:
        """Return the number of batches."""
        return self._steps

    def num_examples(self, split: str) -> int:
        """Return the number of images."""
        return self._steps * self._shape[0]

    def mean_example_bytes(self, split: str) -> int:
        """Return 0: nothing is encoded."""
        return 0

    def train_batches(self, *_: object) -> tf.data.Dataset:
        """Return batches without end."""
        images = np.random.default_rng(0).integers(0, 256, self._shape, np.uint8)
        return tf.data.Dataset.from_tensors((images, np.arange(self._shape[0], dtype=np.int32) % CLASSES)).repeat()

    def eval_batches(self, split: str) -> tf.data.Dataset:
        """Return one batch."""
        return self.train_batches().take(1)


class EpochClock(NullLogger):
    """Notes when each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []  # monotonic

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Note the time."""
        self.ends.append(time.monotonic())


def measure(
    device: str, data: str, home: str, recipe: str, precision: str = "auto", xla: str = "auto", real: bool = False
) -> dict[str, Any]:
    """Train a recipe for a few epochs on one device and return its rates."""
    size = SIZES[device]
    chosen = choose(recipe, size.batch_size, f"precision={precision}", f"xla={xla}")
    return train(chosen, size, data if real else None, DistributedContext())


def choose(recipe: str, batch_size: int, *settings: str) -> Recipe:
    """Return a recipe with other settings; batch_size 0 is its own."""
    return apply_overrides(
        get_recipe(recipe), [ENDLESS, *([f"batch_size={batch_size}"] if batch_size else []), *settings]
    )


def train(recipe: Recipe, size: Size, data: str | None, distribution: DistributedContext) -> dict[str, Any]:
    """Run the loop of jobs.train and return what it took.

    Args:
        data: dataset of the input, None for noise.
        distribution: joined.
    """
    clock = EpochClock()
    advice = smaller_training_batch(recipe.batch_size, distribution.batch_unit)
    with tempfile.TemporaryDirectory() as cache, translating_out_of_memory(recipe.batch_size, advice):
        start = time.monotonic()
        phase = make_phase(recipe, size, data, Path(cache), distribution)
        usage = ResourceUsage({}, distribution.gpus, distribution.num_processes)
        loop = TrainLoop(Progress(clock, phase.epochs), NullCheckpointer(), usage, None)
        with UtilizationSampler() as sampler:
            loop.run(phase, None)
    best = max(loop.state.history[1:], key=lambda epoch: epoch["images_per_second"])
    used = loop.usage.read()
    gpus = [value for name, value in used.items() if name.startswith("gpu_") and name.endswith("_peak_mb")]
    return _describe(
        {
            "images_per_second": best["images_per_second"],
            "first_epoch_seconds": clock.ends[0] - start,
            "input_wait_fraction": best["input_wait_fraction"],
            "gpu_utilization": sampler.mean(clock.ends[0], clock.ends[-1]),
            "peak_gib": max(gpus, default=used["peak_rss_mb"]) / 1024,
            "batch_size": recipe.batch_size,
            "steps": phase.steps,
            "precision": recipe.precision,
        }
    )


def make_phase(recipe: Recipe, size: Size, data: str | None, cache: Path, distribution: DistributedContext) -> Phase:
    """Return a phase of the whole model with few steps and epochs; EnvironmentUnsupported if memory is too small."""
    steps, classes = round(size.steps * (224 / recipe.size) ** 2), CLASSES
    if data is None:
        recipe = dataclasses.replace(recipe, augment=Augment())
        pipeline: Any = Noise(recipe, steps)
    else:
        store = open_store(data)
        manifest = load_manifest(store)
        pipeline, classes = InputPipeline(manifest, store, recipe.view, recipe.batch_size, cache), len(manifest.classes)
    model = build_model(recipe, classes)
    memory_estimate.check(memory_estimate.estimate(model, recipe, pipeline), recipe)
    phase = full_phase(recipe, pipeline, model, 0, distribution, pretrained=False)
    return dataclasses.replace(phase, steps=steps, epochs=size.epochs, validation=phase.validation.take(1).cache())


def _describe(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with a text."""
    use = values["gpu_utilization"]
    text = (
        f"{values['images_per_second']:,.1f} images/s, first epoch {values['first_epoch_seconds']:.1f} s, "
        f"input wait {values['input_wait_fraction']:.0%}, {'' if use is None else f'GPU use {use:.0%}, '}"
        f"peak {values['peak_gib']:.1f} GiB, batches of {values['batch_size']}"
    )
    return {"text": text, **values}


def exhaust_memory(device: str, data: str, home: str) -> dict[str, Any]:
    """Train with a batch that does not fit; EnvironmentUnsupported, exit code 78, is what is expected."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=MEMORY)])
    return train(choose("resnet50-224", LARGE[device]), SIZES[device], None, DistributedContext())


def scaling(device: str, data: str, home: str) -> dict[str, Any]:
    """Train on one GPU and on all of them, with the same number of images on each."""
    one = choose("resnet50-224", SIZES[device].batch_size)
    single = train(one, SIZES[device], None, DistributedContext())
    gpus = len(tf.config.list_physical_devices("GPU"))
    several = choose("resnet50-224", gpus * one.batch_size)
    distribution = resolve_strategy("mirrored", rendezvous.cluster_from_env(), several)
    distribution.join()
    mirrored = train(several, SIZES[device], None, distribution)
    speedup = mirrored["images_per_second"] / single["images_per_second"]
    text = f"{gpus} GPUs {speedup:.2f}x of one; one: {single['text']}; all: {mirrored['text']}"
    return {"text": text, "speedup": speedup, "single": single, "mirrored": mirrored}
