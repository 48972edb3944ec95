"""One model of each family at 224 px: two epochs on ten breeds. Real photos where they are, drawn ones elsewhere."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import keras
import numpy as np
import pytest

from dogbreed.core.storage import LocalStore
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives
from dogbreed.models import registry
from dogbreed.training import trainer
from dogbreed.training.recipe import Recipe
from tests.support.listener import Listener

REAL = Path(__file__).parents[3] / "shared" / "stanford-dogs-small"
FAMILIES = {family: next(members) for family, members in groupby(registry.MODELS.values(), lambda entry: entry.family)}
BATCH = 16

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def ten_breeds(preprocess: Callable[..., Manifest | None], tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """Ten breeds with 11 train photos each: a tenth is for validation."""
    out = LocalStore(tmp_path_factory.mktemp("ten") / "dogs-224")
    raw = REAL
    if not REAL.is_dir():
        raw = tmp_path_factory.mktemp("raw")
        for name, data in draw_archives(SyntheticConfig(classes=10, per_class=22)).items():
            (raw / name).write_bytes(data)
    source = StanfordDogs(LocalStore(raw))
    breeds = tuple(sorted({photo.source_id.partition("/")[0] for photo in source.images})[:10])
    preprocess(source, out, size=224, per_class=11, classes=tuple(name.partition("-")[2] for name in breeds))
    return out


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    keras.utils.clear_session()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_two_epochs_at_224_px(family: str, ten_breeds: LocalStore) -> None:
    manifest = load_manifest(ten_breeds)
    recipe = Recipe(family, FAMILIES[family].name, 224, epochs=2, batch_size=BATCH, warmup_epochs=0, learning_rate=3e-4)
    pipeline = InputPipeline(manifest, ten_breeds, recipe.view, BATCH, Path("unused"))
    listener = Listener()
    trained = trainer.train(recipe, manifest, pipeline, 0, listener)
    assert listener.steps == [1, 2]
    assert np.isfinite([values["loss"] for values in listener.values]).all()
    assert trained.model.output_shape == (None, 10)
