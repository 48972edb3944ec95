"""Search spaces: what may be varied, and how values become settings."""

import pytest

from dogbreed.core.errors import UsageError
from dogbreed.training.recipe import apply_overrides
from dogbreed.training.recipes import get_recipe, recipe_for_weights
from dogbreed.training.search_spaces import SPACES, Choice, Range, get_space, is_number, to_setting

RECIPE = get_recipe("simple-64")


@pytest.mark.parametrize("name", SPACES)
def test_all_ends_of_a_named_space_are_values_of_a_recipe(name: str) -> None:
    space = get_space(name, [])
    recipe = recipe_for_weights("mobilenetv2-160", "imagenet" if name != "from-scratch" else None)
    space.check(recipe)
    recipe = apply_overrides(recipe, space.settings)
    for field, parameter in space.parameters.items():
        ends = parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)
        for end in ends:
            value = round(end) if isinstance(end, float) and end == round(end) and field == "head.epochs" else end
            apply_overrides(recipe, [to_setting(field, value)])


def test_fields_are_added_to_a_named_space_or_replace_its_own() -> None:
    space = get_space("from-scratch", ["dropout=0.1:0.2", "batch_size=32,64", "head.epochs=1:4"])
    assert space.parameters["dropout"] == Range(0.1, 0.2)
    assert space.parameters["batch_size"] == Choice(("32", "64"))
    assert space.parameters["learning_rate"] == Range(3e-4, 1e-2, log=True)
    assert [field for field, is_log in space.fields.items() if is_log] == ["learning_rate", "weight_decay"]


def test_a_field_that_is_set_leaves_the_named_space_and_may_not_be_varied_as_well() -> None:
    space = get_space("from-scratch", ["batch_size=32,64"], ["dropout=0.3", "epochs=12"])
    assert "dropout" not in space.parameters
    assert "batch_size" in space.parameters
    with pytest.raises(UsageError, match="--set batch_size"):
        get_space("from-scratch", ["batch_size=32,64"], ["batch_size=32"])
    with pytest.raises(UsageError, match="space head"):
        get_space("head", [], ["trainable_fraction=0.5"])


@pytest.mark.parametrize(
    ("varied", "word"),
    [
        ("dropout", "--vary"),
        ("dropout=a:b", "--vary"),
        ("dropout=0:1:2:3", "--vary"),
        ("dropout=lin:0:1", "--vary"),
        ("dropout=0.5:0.5", "below"),
        ("dropout=0.6:0.5", "below"),
        ("dropout=0:inf", "below"),
        ("learning_rate=log:0:1", "above 0"),
        ("batch_size=32,32", "different"),
        ("batch_size=", "different"),
        ("nothing=0:1", "nothing"),
        ("augment=0:1", "augment"),
        ("augment.nothing=0:1", "nothing"),
        ("model=0:1", "no number"),
        ("class_weights=0:1", "no number"),
        ("batch_size=32,many", "batch_size"),
        ("batch_size=log:0.4:64", "whole number"),
        ("epochs=0.6:1.4", "whole number"),
        ("name=a,b", "name"),
        ("weights=none,imagenet", "weights"),
        ("test_zoom=1,1.5", "without a zoom"),
    ],
)
def test_what_cannot_be_varied_is_refused(varied: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        get_space(None, [varied]).check(RECIPE)


def test_no_field_at_all_and_an_unknown_space_are_refused() -> None:
    with pytest.raises(UsageError, match="--vary"):
        get_space(None, []).check(RECIPE)
    with pytest.raises(UsageError, match="from-scratch"):
        get_space("anything", [])


def test_a_model_is_varied_only_without_weights() -> None:
    space = get_space(None, ["model=simple,larger"])
    space.check(RECIPE)
    with pytest.raises(UsageError, match="model"):
        space.check(recipe_for_weights("mobilenetv2-160", "imagenet"))


def test_a_value_becomes_a_setting_of_four_digits() -> None:
    assert to_setting("learning_rate", 0.00123456) == "learning_rate=0.001235"
    assert to_setting("head.epochs", 12) == "head.epochs=12"
    assert to_setting("batch_size", "64") == "batch_size=64"
    assert [is_number(value) for value in (1, 1.5, True, "1")] == [True, True, False, False]
