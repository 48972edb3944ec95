"""Train on one device, then on two logical CPU devices, and print both; a process of its own, since devices stay."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from dogbreed.core.storage import open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.models.weights import Weights
from dogbreed.training import trainer
from dogbreed.training.distributed import DistributedContext
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe
from tests.support.listener import Listener

SETTINGS = (
    "size=32",
    "batch_size=12",
    "epochs=2",
    "warmup_epochs=0",
    "dropout=0",
    "ema_decay=0.9",
    "global_clipnorm=1",
    "batch_norm=synchronized",
)


def train(
    data: str, distribution: DistributedContext, *settings: str
) -> tuple[list[np.ndarray], list[dict[str, float]]]:
    """Return the weights and the values of each epoch."""
    recipe = apply_overrides(get_recipe("simple-64"), [*SETTINGS, *settings])
    init_weights = None if recipe.weights == "none" else Weights.from_file(Path(recipe.weights))
    store, listener = open_store(data), Listener()
    manifest = load_manifest(store)
    pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path("unused"))
    distribution.join()
    trained = trainer.train(recipe, manifest, pipeline, 0, listener, init_weights, distribution=distribution)
    return trained.model.get_weights(), [dict(values) for values in listener.values]


def main(data: str, *settings: str) -> None:
    """Print the greatest difference of a weight, the number of replicas, and the losses of both."""
    cpu, two = tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    mirrored = DistributedContext("mirrored", devices=("CPU:0", "CPU:1"))
    (one, values), (both, others) = train(data, DistributedContext(), *settings), train(data, mirrored, *settings)
    found = {
        "replicas": mirrored.strategy.num_replicas_in_sync,
        "difference": max(float(np.abs(a - b).max()) for a, b in zip(one, both, strict=True)),
        "losses": [[epoch[name] for epoch in values for name in ("loss", "val_loss")] for values in (values, others)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
