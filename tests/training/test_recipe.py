import dataclasses
from typing import Any

import pytest

from dogbreed.core.errors import UsageError
from dogbreed.models import registry
from dogbreed.training.recipe import Recipe, apply_overrides, job_fingerprint
from dogbreed.training.recipes import RECIPES, get_recipe

BUILT_ELSEWHERE = {"resnet50-224", "inceptionv3-224", "mobilenetv2-160", "efficientnetb0-224", "efficientnetv2b3-224"}


@pytest.mark.parametrize("name", ["precision", "cache", "xla", "batch_norm", "optimizer"])
def test_the_error_for_an_unknown_choice_names_the_setting(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown {name} 'x'; known are "):
        apply_overrides(get_recipe("simple-64"), [f"{name}=x"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in BUILT_ELSEWHERE else name for name in RECIPES]
)
def test_a_named_recipe_builds_its_model_at_120_classes(name: str) -> None:
    recipe = get_recipe(name)
    model = registry.build(recipe.model, recipe.size, 120, recipe.dropout)
    assert recipe.name == name
    assert model.input_shape == (None, recipe.size, recipe.size, 3)
    assert model.output_shape == (None, 120)
    assert model.input.dtype == "uint8"


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_names_a_model_that_takes_its_photos(name: str) -> None:
    recipe = get_recipe(name)
    assert registry.get(recipe.model).smallest <= recipe.size


def test_settings_change_fields_by_their_type_and_reach_the_augmentation() -> None:
    recipe = apply_overrides(
        get_recipe("simple-64"), ["epochs=3", "learning_rate=1e-4", "augment.hflip=false", "resize_mode=pad"]
    )
    assert (recipe.epochs, recipe.learning_rate, recipe.augment.hflip, recipe.resize_mode) == (3, 1e-4, False, "pad")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epochs", "key=value"),
        ("epoch=3", "no 'epoch'"),
        ("epochs=three", "not a int"),
        ("learning_rate=nan", "finite"),
        ("warmup_epochs=inf", "finite"),
        ("augment=no", "no 'augment'"),
        ("augment.flop=true", "no 'augment.flop'"),
        ("epochs=0", "at least 1"),
        ("dropout=1.5", "below 1"),
        ("augment.min_area=2", "outside 0 to 1"),
        ("start_size=40", "two thirds of size 64"),
        ("start_size=64", "below it"),
        ("start_fraction=1", "start_fraction"),
        ("test_zoom=wide", "not 'wide'"),
        ("test_zoom=0.9", "outside 1 to 2"),
        ("test_zoom=0", "outside 1 to 2"),
        ("test_zoom=nan", "outside 1 to 2"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        apply_overrides(get_recipe("simple-64"), [setting])


OTHER_FIELDS = {
    "name": "other",
    "model": "cifar-resnet",
    "size": "32",
    "resize_mode": "pad",
    "epochs": "3",
    "batch_size": "8",
    "learning_rate": "1e-4",
    "warmup_epochs": "1.5",
    "weight_decay": "0.1",
    "label_smoothing": "0",
    "dropout": "0.3",
    "global_clipnorm": "1",
    "class_weights": "true",
    "ema_decay": "0.9",
    "patience": "3",
    "precision": "float32",
    "steps_per_execution": "2",
    "cache": "memory",
    "augment.min_area": "0.9",
    "augment.max_aspect": "1.1",
    "augment.hflip": "true",
    "augment.margin_jitter": "0.1",
    "augment.cutmix_prob": "0.1",
    "augment.mixup_prob": "0.1",
    "augment.erase_prob": "0.1",
    "augment.brightness": "0.1",
    "augment.contrast": "0.1",
    "augment.saturation": "0.1",
    "augment.trivial_augment": "true",
    "head.epochs": "1",
    "head.augmentations": "2",
    "head.learning_rate": "1e-4",
    "head.batch_size": "8",
    "trainable_fraction": "0.5",
    "layer_decay": "0.5",
    "xla": "on",
    "batch_norm": "synchronized",
    "distillation.views": "9",
    "distillation.temperature": "2",
    "test_zoom": "1",
    "optimizer": "sgd",
    "start_size": "48",
    "start_fraction": "0.3",
}
PLAIN = Recipe("plain", "simple", 64)


def paths(part: Any, before: str = "") -> set[str]:
    """Return what `--set` can change of a recipe: its fields and those of its parts."""
    found = set()
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), before + field.name
        found |= paths(value, f"{path}.") if dataclasses.is_dataclass(value) else {path}
    return found


def test_the_job_key_depends_on_every_field_of_a_recipe() -> None:
    assert set(OTHER_FIELDS) == paths(PLAIN) - {
        "weights",
        "distillation.teacher",
    }  # whose content enters: test_transfer.py
    keys = {"": job_fingerprint(PLAIN, "", "digest", 0)}
    for path, text in OTHER_FIELDS.items():
        keys[path] = job_fingerprint(apply_overrides(PLAIN, [f"{path}={text}"]), "", "digest", 0)
    assert len(set(keys.values())) == len(keys), keys


def test_the_job_key_depends_on_data_seed_and_format(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [job_fingerprint(PLAIN, "", *data) for data in (("digest", 0), ("digest", 1), ("other", 0))]
    monkeypatch.setattr("dogbreed.training.recipe.FORMAT", -1)
    keys.append(job_fingerprint(PLAIN, "", "digest", 0))
    assert len(set(keys)) == 4


def test_the_job_key_is_the_same_in_every_process() -> None:
    assert job_fingerprint(PLAIN, "", "digest", 0) == "b30ea8def637882b"
