import pytest

from dogbreed.platform.errors import UnknownName
from dogbreed.training import zoo
from dogbreed.training.recipe import job_key, override
from dogbreed.training.recipes import RECIPES, named

BUILT_ELSEWHERE = {"resnet50-224", "inceptionv3-224", "mobilenetv2-160", "efficientnetb0-224", "efficientnetv2b3-224"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in BUILT_ELSEWHERE else name for name in RECIPES]
)
def test_a_named_recipe_builds_its_model_at_120_classes(name: str) -> None:
    recipe = named(name)
    model = zoo.build(recipe.model, recipe.size, 120, recipe.dropout)
    assert recipe.name == name
    assert model.input_shape == (None, recipe.size, recipe.size, 3)
    assert model.output_shape == (None, 120)
    assert model.input.dtype == "uint8"


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_names_a_model_that_takes_its_photos(name: str) -> None:
    recipe = named(name)
    assert zoo.named(recipe.model).smallest <= recipe.size


def test_settings_change_fields_by_their_type_and_reach_the_augmentation() -> None:
    recipe = override(named("simple-64"), ["epochs=3", "learning_rate=1e-4", "augment.flip=false", "shape=pad"])
    assert (recipe.epochs, recipe.learning_rate, recipe.augment.flip, recipe.shape) == (3, 1e-4, False, "pad")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epochs", "key=value"),
        ("epoch=3", "no 'epoch'"),
        ("epochs=three", "not a int"),
        ("augment=no", "no 'augment'"),
        ("augment.flop=true", "no 'augment.flop'"),
        ("epochs=0", "at least 1"),
        ("dropout=1.5", "below 1"),
        ("augment.min_area=2", "outside 0 to 1"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        override(named("simple-64"), [setting])


def test_the_job_key_depends_on_recipe_data_and_seed() -> None:
    recipe = named("simple-64")
    keys = {
        job_key(recipe, "", "digest", 0),
        job_key(recipe, "", "digest", 1),
        job_key(recipe, "", "other", 0),
        job_key(override(recipe, ["epochs=3"]), "", "digest", 0),
    }
    assert len(keys) == 4
    assert job_key(named("simple-64"), "", "digest", 0) in keys
