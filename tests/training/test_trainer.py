from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dogbreed.data.dataset import load_manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.view import View
from dogbreed.platform.errors import DataContradiction
from dogbreed.platform.storage import open_store
from dogbreed.training import trainer
from dogbreed.training.recipe import Recipe, named, override

SHORT = override(named("simple-64"), ["size=32", "batch_size=8", "warmup_epochs=0"])


class Listener:
    """Keeps what a training tells its observer."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[Mapping[str, float]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)
        self.values.append(values)


def open_small(dataset: Path, recipe: Recipe) -> InputPipeline:
    store = open_store(str(dataset))
    return InputPipeline(load_manifest(store), store, recipe.view, recipe.batch_size, Path("unused"))


def train(dataset: Path, recipe: Recipe, listener: Listener) -> trainer.Trained:
    manifest = load_manifest(open_store(str(dataset)))
    return trainer.train(recipe, manifest, open_small(dataset, recipe), 0, listener)


def test_the_best_epoch_is_kept_not_the_last(dataset: Path) -> None:
    listener = Listener()
    recipe = override(SHORT, ["epochs=4", "learning_rate=0.01"])
    trained = train(dataset, recipe, listener)
    assert listener.steps == [1, 2, 3, 4]
    labels, probabilities, photos = trainer.predict(trained.model, open_small(dataset, recipe), "validation")
    assert np.mean(probabilities.argmax(1) == labels) == pytest.approx(trained.best["val_top1"])
    assert photos.shape == (len(labels), 32, 32, 3)
    assert probabilities.sum(1) == pytest.approx(1)


def test_the_running_mean_of_the_weights_is_what_is_validated_and_kept(dataset: Path) -> None:
    recipe = override(SHORT, ["epochs=2", "ema=0.9"])
    trained = train(dataset, recipe, Listener())
    labels, probabilities, _ = trainer.predict(trained.model, open_small(dataset, recipe), "validation")
    assert np.mean(probabilities.argmax(1) == labels) == pytest.approx(trained.best["val_top1"])


def test_training_stops_when_validation_no_longer_improves(dataset: Path) -> None:
    trained = train(dataset, override(SHORT, ["epochs=30", "patience=1", "learning_rate=1e-9"]), Listener())
    assert len(trained.history) < 30


def test_a_loss_that_is_no_number_ends_with_65(dataset: Path) -> None:
    with pytest.raises(DataContradiction, match="nothing is registered"):
        train(dataset, override(SHORT, ["epochs=3", "learning_rate=1e30"]), Listener())


def test_a_recipe_larger_than_the_data_says_what_to_do(dataset: Path) -> None:
    store = open_store(str(dataset))
    with pytest.raises(DataContradiction, match="preprocess --size 512"):
        InputPipeline(load_manifest(store), store, View(512), 8, Path("unused"))
