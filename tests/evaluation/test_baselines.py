"""The breeds among ImageNet's 1,000 classes, and the floor that an untrained slice of its classifier is."""

from pathlib import Path

import keras
import numpy as np
import pytest

from dogbreed.core.errors import DataError, UsageError
from dogbreed.evaluation import baselines
from dogbreed.models import keras_applications

MODEL = "mobilenet-0.25"


def test_breeds_have_the_places_that_keras_gives_them() -> None:
    known = {  # from the class list of ILSVRC 2012
        "n02085620-Chihuahua": 151,
        "n02088364-beagle": 162,
        "n02099601-golden_retriever": 207,
        "n02106662-German_shepherd": 235,
        "n02110185-Siberian_husky": 250,
        "n02110627-affenpinscher": 252,
        "n02110958-pug": 254,
        "n02113023-Pembroke": 263,
        "n02113978-Mexican_hairless": 268,
        "n02115641-dingo": 273,
        "n02116738-African_hunting_dog": 275,
    }
    assert baselines.class_indices(list(known)) == list(known.values())


def test_there_are_120_breeds_in_120_places() -> None:
    assert len(baselines.INDEX_BY_WORDNET_ID) == len(set(baselines.INDEX_BY_WORDNET_ID.values())) == 120


def test_a_breed_that_imagenet_does_not_know_contradicts() -> None:
    with pytest.raises(DataError, match="1 breeds are no dogs of ImageNet, for example n90000001-Drawn"):
        baselines.class_indices(["n02110958-pug", "n90000001-Drawn"])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A MobileNet with 1,000 classes as Keras makes it, and its weights in a file."""
    keras.utils.set_random_seed(3)
    whole = keras_applications.application("MobileNet 0.25", 64, top=True)
    path = tmp_path_factory.mktemp("head") / "whole.weights.h5"
    whole.save_weights(path)
    return whole, path


def test_the_floor_is_the_slice_of_imagenets_classifier(head: tuple[keras.Model, Path], tmp_path: Path) -> None:
    whole, path = head
    breeds = ["n02110958-pug", "n02085620-Chihuahua"]
    floor = baselines.zero_shot_classifier(MODEL, 64, breeds, str(path), tmp_path)
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    answers = whole.predict_on_batch(photos / 127.5 - 1)[:, [254, 151]]
    wanted = answers / answers.sum(axis=1, keepdims=True)
    assert floor.predict_on_batch(photos) == pytest.approx(wanted, rel=1e-4)


def test_weights_without_the_head_are_refused(tmp_path: Path) -> None:
    body = tmp_path / "body.weights.h5"
    keras_applications.application("MobileNet 0.25", 64).save_weights(body)
    with pytest.raises(DataError, match="with 1,000 classes"):
        baselines.zero_shot_classifier(MODEL, 64, ["n02110958-pug"], str(body), tmp_path)


def test_a_design_that_keras_does_not_publish_has_no_such_head(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Keras has no ImageNet weights of simple"):
        baselines.zero_shot_classifier("simple", 64, ["n02110958-pug"], "imagenet", tmp_path)
