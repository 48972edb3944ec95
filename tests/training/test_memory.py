"""The memory plan: what it counts, what it refuses, and that its advice fits."""

from pathlib import Path

import pytest

from dogbreed.data.dataset import load_manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.platform.errors import ImpossibleHere
from dogbreed.platform.machine import GIB
from dogbreed.platform.storage import open_store
from dogbreed.training import memory, trainer
from dogbreed.training.recipe import Recipe, override
from dogbreed.training.recipes import named

SMALL = override(named("simple-64"), ["size=32", "batch_size=8"])


def plan(dataset: Path, recipe: Recipe) -> dict[str, int]:
    store = open_store(str(dataset))
    pipeline = InputPipeline(load_manifest(store), store, recipe.view, recipe.batch_size, Path("unused"))
    return memory.plan(trainer.compiled(recipe, 4, 10), recipe, pipeline)


def test_a_plan_counts_weights_and_activations_by_the_graph(dataset: Path) -> None:
    parts = plan(dataset, SMALL)
    assert parts["weights"] == 4 * (1_277_668 + 3 * 1_275_940)
    assert parts["activations"] == 8 * 466_976  # added up by hand from the outputs of the 21 layers
    assert parts["batches ahead"] == 6 * 8 * 32 * 32 * 3
    assert parts["decoded photos"] == 0
    assert plan(dataset, override(SMALL, ["cache=decoded"]))["decoded photos"] == 2 * 28 * 32 * 32 * 3
    nested = plan(dataset, override(SMALL, ["model=mobilenet-0.25"]))
    assert nested["activations"] > 8 * 100_000  # not its few layers outside the nested body


def test_a_plan_beyond_the_limit_names_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 4 * GIB)
    recipe = override(SMALL, ["batch_size=1024"])
    parts = {"libraries": GIB, "batches ahead": GIB // 2, "decoded photos": 0, "activations": 11 * GIB}
    with pytest.raises(ImpossibleHere, match=r"about 12\.5 GiB .*activations 11\.0.* 4\.0 GiB .*use --batch-size 256$"):
        memory.check(parts, recipe)
    fitting = {name: size if name == "libraries" else size // 4 for name, size in parts.items()}
    memory.check(fitting, override(SMALL, ["batch_size=256"]))


def test_decoded_photos_are_the_first_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 4 * GIB)
    parts = {"libraries": GIB, "batches ahead": GIB // 2, "decoded photos": 9 * GIB, "activations": GIB}
    with pytest.raises(ImpossibleHere, match=r"use --cache none$"):
        memory.check(parts, SMALL)


def test_where_nothing_fits_the_recipe_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: GIB // 2)
    with pytest.raises(ImpossibleHere, match=r"a smaller recipe, or a larger memory limit"):
        memory.check({"libraries": GIB, "batches ahead": GIB // 64, "decoded photos": 0}, SMALL)
