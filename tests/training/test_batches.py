"""What a model trains on: resumed anywhere, the batches are those that an unbroken training would have had."""

from pathlib import Path

import numpy as np

from dogbreed.core.storage import LocalStore
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.training import batches
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe

MIXED = ("augment.cutmix_prob=0.6", "augment.mixup_prob=0.4", "augment.erase_prob=0.5", "class_weights=true")


def test_resumed_batches_are_mixed_as_they_would_have_been(dataset: Path) -> None:
    recipe = apply_overrides(get_recipe("simple-64"), ["size=32", "batch_size=8", "epochs=3", *MIXED])
    store = LocalStore(dataset)
    pipeline = InputPipeline(load_manifest(store), store, recipe.view, recipe.batch_size, Path("unused"))

    def begun(*begin: int) -> list[tuple[np.ndarray, ...]]:
        return list(batches.train_batches(recipe, pipeline, 4, 7, begin).as_numpy_iterator())

    whole = begun(0, 0)
    for epoch, batch in ((1, 0), (1, 1)):  # of 3 epochs of 3 batches
        rest, wanted = begun(epoch, batch), whole[3 * epoch + batch :]
        assert len(rest) == len(wanted)
        for ours, theirs in zip(rest, wanted, strict=True):
            for mine, other in zip(ours, theirs, strict=True):  # photos, labels, weights
                assert np.array_equal(mine, other), f"begun at batch {batch} of epoch {epoch}"
