"""One training of a tiny model in one process, which prints its peak memory in MiB before and after the images.

`python -m bench.memory_ways loaded COUNT` puts a list of COUNT float64 arrays into `fit`; `streamed DATA` reads a
dataset's train split through the input pipeline. 224 px, batches of 32, one epoch.
"""

import resource
import sys
from pathlib import Path

import keras
import numpy as np

from dogbreed.core.storage import LocalStore
from dogbreed.data.augment import Augment
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.splits import TRAIN

SIZE, BATCH = 224, 32


def peak() -> int:
    """Return the largest resident set size of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def tiny() -> keras.Model:
    """Return a compiled model whose own memory is next to nothing, after one step."""
    image = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(8)(image))
    model = keras.Model(image, keras.layers.Dense(120, activation="softmax")(pooled))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy())
    model.train_on_batch(np.zeros((BATCH, SIZE, SIZE, 3)), np.zeros(BATCH))
    return model


def loaded(model: keras.Model, count: int) -> None:
    """Train on a list of arrays; what is in them does not matter for their memory, so it is noise."""
    random = np.random.default_rng(0)
    images = [random.random((SIZE, SIZE, 3)) for _ in range(count)]
    model.fit(np.array(images), np.arange(count) % 120, batch_size=BATCH, verbose=0)


def streamed(model: keras.Model, data: str) -> None:
    """Train on a dataset as jobs.train does."""
    store = LocalStore(Path(data))
    pipeline = InputPipeline(load_manifest(store), store, ResizeSpec(SIZE), BATCH, Path(data))
    batches = pipeline.train_batches(Augment(hflip=True, min_area=0.4), seed=0, epochs=1)
    model.fit(batches, steps_per_epoch=pipeline.steps_per_epoch(TRAIN), shuffle=False, verbose=0)


def main(way: str, what: str) -> None:
    """Print MiB before and after."""
    model = tiny()
    before = peak()
    if way == "loaded":
        loaded(model, int(what))
    else:
        streamed(model, what)
    print(before, peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
