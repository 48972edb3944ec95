"""The dogs among ImageNet's 1,000 classes, and both baselines."""

from pathlib import Path

import keras
import numpy as np
import pytest

from dogbreed.core.errors import DataError, UsageError
from dogbreed.evaluation import baselines
from dogbreed.models import keras_applications

MODEL = "mobilenet-0.25"


def test_classes_have_the_indices_of_keras() -> None:
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


def test_120_classes_have_120_indices() -> None:
    assert len(baselines.INDEX_BY_WORDNET_ID) == len(set(baselines.INDEX_BY_WORDNET_ID.values())) == 120


def test_a_class_that_is_not_in_imagenet_is_a_data_error() -> None:
    with pytest.raises(DataError, match="n90000001-Drawn"):
        baselines.class_indices(["n02110958-pug", "n90000001-Drawn"])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A MobileNet with 1,000 classes as Keras makes it, and its weights in a file."""
    keras.utils.set_random_seed(3)
    whole = keras_applications.application("MobileNet 0.25", 64, top=True)
    path = tmp_path_factory.mktemp("head") / "whole.weights.h5"
    whole.save_weights(path)
    return whole, path


def test_the_zero_shot_baseline_is_the_restricted_imagenet_classifier(
    head: tuple[keras.Model, Path], tmp_path: Path
) -> None:
    whole, path = head
    classes = ["n02110958-pug", "n02085620-Chihuahua"]
    baseline = baselines.zero_shot_classifier(MODEL, 64, classes, str(path), tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    probabilities = whole.predict_on_batch(images / 127.5 - 1)[:, [254, 151]]
    expected = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert baseline.predict_on_batch(images) == pytest.approx(expected, rel=1e-4)


def test_weights_without_the_head_are_refused(tmp_path: Path) -> None:
    body = tmp_path / "body.weights.h5"
    keras_applications.application("MobileNet 0.25", 64).save_weights(body)
    with pytest.raises(DataError, match="with 1,000 classes"):
        baselines.zero_shot_classifier(MODEL, 64, ["n02110958-pug"], str(body), tmp_path)


def test_a_model_without_imagenet_weights_has_no_zero_shot_baseline(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Keras has no ImageNet weights of simple"):
        baselines.zero_shot_classifier("simple", 64, ["n02110958-pug"], "imagenet", tmp_path)


def test_the_majority_baseline_always_predicts_the_most_frequent_classes() -> None:
    scores = baselines.majority_baseline(np.array([0, 0, 0, 1]), 8)
    assert (scores["top1"], scores["top5"]) == (0.75, 1.0)
    assert scores["loss"] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
