"""bench.search: the halves of the validation images, and what both recipes share."""

from pathlib import Path

import click
import pytest

from bench import search
from dogbreed.core.storage import LocalStore
from dogbreed.data.manifest import load_manifest
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.splits import TRAIN, VALIDATION
from tests.conftest import Preprocess

OPTIONS = ("--recipe", "simple-64", "--weights", "w.h5", "--space", "head", "--set", "size=32", "--trials", "9")


def test_the_recipe_by_hand_has_the_options_and_the_epochs_of_the_searched_one() -> None:
    found = ["size=32", "trainable_fraction=0", "head.epochs=12", "dropout=0.3"]
    assert search.same_epochs(found, OPTIONS) == [
        "--recipe", "simple-64", "--weights", "w.h5", "--set", "size=32",
        "--set", "trainable_fraction=0", "--set", "head.epochs=12",
    ]  # fmt: skip


def test_the_halves_have_all_train_images_and_each_validation_image_once(
    source: StanfordDogs, preprocess: Preprocess, tmp_path: Path
) -> None:
    data = tmp_path / "dogs"
    preprocess(source, LocalStore(data), shards=40)
    whole = load_manifest(LocalStore(data))
    halves = [load_manifest(LocalStore(folder)) for folder in search.write_halves(data, tmp_path)]
    assert all(half.split(TRAIN) == whole.split(TRAIN) for half in halves)
    shards = [shard for half in halves for shard in half.split(VALIDATION).shards]
    assert sorted(shard.key for shard in shards) == sorted(shard.key for shard in whole.split(VALIDATION).shards)
    assert (tmp_path / "select" / shards[0].key).exists()


def test_one_shard_has_no_halves(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="more --shards"):
        search.write_halves(dataset, tmp_path)
