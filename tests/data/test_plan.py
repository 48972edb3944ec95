"""The plan of a dataset: a function of source and configuration alone."""

import unicodedata
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import pytest

from dogbreed.core.errors import DataError, UsageError
from dogbreed.data.config import DatasetConfig
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from tests.support.memory_source import NoiseSource, source_image

OTHER_OPTIONS: dict[str, Any] = {
    "size": 33,
    "crop": "none",
    "margin": 0.2,
    "objects": "each",
    "resample": "area",
    "resize_mode": "squash",
    "split": "stratified",
    "seed": 1,
    "duplicates": "keep",
    "classes": ("Inkpot_terrier",),
    "per_class": 3,
    "shards": 9,
    "name": "my-dogs",
}


def test_every_option_enters_the_configuration(source: StanfordDogs) -> None:
    assert set(OTHER_OPTIONS) == {field.name for field in fields(DatasetConfig)}
    ids = {"": plan_dataset(source, DatasetConfig(size=32)).config_id}
    for name, value in OTHER_OPTIONS.items():
        ids[name] = plan_dataset(source, DatasetConfig(**{"size": 32, name: value})).config_id
    assert len(set(ids.values())) == len(ids), ids


def test_classes_are_chosen_by_name_with_or_without_synset() -> None:
    for names in (("Red", "green_dog"), ("n00000001-Red", "n00000002-Green_dog")):
        plan = plan_dataset(NoiseSource(), DatasetConfig(size=32, classes=names))
        assert plan.classes == ("n00000001-Red", "n00000002-Green_dog")
        assert sum(plan.empty_manifest.excluded.values()) == 15
    with pytest.raises(UsageError, match="no class cat"):
        plan_dataset(NoiseSource(), DatasetConfig(size=32, classes=("Red", "Cat")))


def test_classes_are_chosen_whatever_the_form_of_their_accents() -> None:
    forms = [unicodedata.normalize(form, "Épagneul") for form in ("NFC", "NFD")]
    for stored in forms:
        images = [replace(source_image("n00000001-Red", n, None), class_name=stored) for n in range(20)]
        source = NoiseSource([*images, *(source_image("n00000002-Blue", n, None) for n in range(20))])
        plans = [plan_dataset(source, DatasetConfig(split="stratified", classes=(form.upper(),))) for form in forms]
        assert {plan.classes for plan in plans} == {(stored,)}
        assert len({plan.config_id for plan in plans}) == 1


def test_a_digit_before_a_hyphen_is_part_of_a_name() -> None:
    images = [source_image(name, n, None) for name in ("x2-Red", "Red") for n in range(20)]
    plan = plan_dataset(NoiseSource(images), DatasetConfig(split="stratified", classes=("x2-red",)))
    assert plan.classes == ("x2-Red",)


def test_the_configuration_holds_names_in_lower_case_without_wordnet_id() -> None:
    plan = plan_dataset(NoiseSource(), DatasetConfig(classes=("n00000002-Green_dog", "Red")))
    assert plan.empty_manifest.config["classes"] == ["green_dog", "red"]


def test_classes_in_another_spelling_or_order_are_the_same_configuration() -> None:
    spellings = (("Red", "Blue"), ("n00000003-Blue", "red"), ("Blue", "Red", "Red"))
    plans = [plan_dataset(NoiseSource(), DatasetConfig(classes=names)) for names in spellings]
    assert len({plan.config_id for plan in plans}) == 1


def test_shards_are_about_as_many_as_asked_for() -> None:
    plan = plan_dataset(NoiseSource(), DatasetConfig(size=32, shards=9))
    assert [len(images) for _, images in plan.shards] == [5, 5, 5, 5, 5, 2, 3, 5, 5, 5]  # 27, 3 and 15 by fives


def test_a_source_without_one_usable_image_is_refused() -> None:
    with pytest.raises(DataError, match="no image of the source"):
        plan_dataset(
            NoiseSource([source_image("n00000001-Red", 0, "train", invalid_reason="no annotation")]), DatasetConfig()
        )


@pytest.mark.parametrize("name", ["../../../x", "/x", "a\\b", ".."])
def test_a_class_whose_name_could_leave_a_folder_is_refused(name: str) -> None:
    images = [source_image("n00000001-Red", 0, None), replace(source_image("b", 1, None), class_name=name)]
    with pytest.raises(DataError, match="rename its folder"):
        plan_dataset(NoiseSource(images), DatasetConfig(split="stratified"))


def test_per_class_keeps_so_many_of_each_class_in_train_and_in_test() -> None:
    plan = plan_dataset(NoiseSource(), DatasetConfig(size=32, per_class=4))
    kept = Counter((image.class_name, image.split) for _, images in plan.shards for image in images)
    assert set(kept.values()) == {4}
    assert len(kept) == 6
    assert sum(plan.empty_manifest.excluded.values()) == 45 - 24


def test_without_official_split_only_stratified_works() -> None:
    source = NoiseSource([source_image("n00000001-Red", number, None) for number in range(50)])
    with pytest.raises(DataError, match="use --split stratified"):
        plan_dataset(source, DatasetConfig(size=32))
    plan = plan_dataset(source, DatasetConfig(size=32, split="stratified"))
    assert {split: len(images) for split, images in plan.shards} == {"train": 36, "validation": 4, "test": 10}


def test_the_plan_does_not_depend_on_the_order_of_the_source() -> None:
    backwards = NoiseSource(NoiseSource().images[::-1])
    assert plan_dataset(backwards, DatasetConfig()).shards == plan_dataset(NoiseSource(), DatasetConfig()).shards
