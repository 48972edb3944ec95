"""The registry: every family of models builds, sees the right pixels, trains, and is the same after reloading."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import keras
import numpy as np
import pytest

from dogbreed.core.errors import UsageError
from dogbreed.models import registry
from dogbreed.training.build import build_and_compile
from dogbreed.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
CLASSES = 120
FAMILIES = {family: next(members) for family, members in groupby(registry.MODELS.values(), lambda entry: entry.family)}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE_MEAN = np.array([103.939, 116.779, 123.68])  # blue, green, red
STANDARDIZED = "(x / 255 - mean) / std"
EXPECTED = {
    "small": "x / 127.5 - 1",
    "airbench": "x / 127.5 - 1",
    "mixnet": STANDARDIZED,
    "resnet": "bgr - mean",
    "resnet_v2": "x / 127.5 - 1",
    "inception_v3": "x / 127.5 - 1",
    "inception_resnet_v2": "x / 127.5 - 1",
    "mobilenet": "x / 127.5 - 1",
    "mobilenet_v2": "x / 127.5 - 1",
    "mobilenet_v3": "x / 127.5 - 1",
    "efficientnet": STANDARDIZED,
    "efficientnet_v2": STANDARDIZED,
    "convnext": STANDARDIZED,
}


def side(entry: registry.ModelSpec) -> int:
    return max(64, entry.smallest)


def photos_for(entry: registry.ModelSpec) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, side(entry), side(entry), 3), np.uint8)


def trained(entry: registry.ModelSpec) -> keras.Model:
    """Return the model after one real step with the trainer's loss and optimizer; the weights have moved."""
    keras.utils.set_random_seed(0)
    recipe = Recipe("one step", entry.name, side(entry), warmup_epochs=0, learning_rate=1e-3, precision="float32")
    model = build_and_compile(recipe, CLASSES, steps=10)
    model.run_eagerly = True  # to trace the graph takes longer than the step
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(photos_for(entry), np.eye(CLASSES, dtype="float32")[:2])
    assert np.isfinite(loss)
    moved = [
        not np.array_equal(old, weight.numpy()) for old, weight in zip(before, model.trainable_weights, strict=True)
    ]
    assert np.mean(moved) > 0.9  # in dead units no gradient arrives
    return model


# The models of Keras are wrapped by one function: of those that expect the same pixels, one runs in `make test`
LONG = ("inception_v3", "inception_resnet_v2", "resnet_v2", "mobilenet_v3", "efficientnet_v2")
PARAMS = [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in FAMILIES]


@pytest.fixture(scope="module", params=PARAMS)
def family(request: pytest.FixtureRequest) -> Iterator[tuple[registry.ModelSpec, keras.Model]]:
    entry = FAMILIES[request.param]
    yield entry, trained(entry)
    keras.utils.clear_session()


def tensor_before_first_convolution(model: keras.Model) -> keras.Model:
    """Return the model from photos to what the first convolution takes, also where it lies in a nested model."""
    for place, operation in enumerate(model.operations):
        if isinstance(operation, keras.Model) and not isinstance(operation, keras.Sequential):
            outer = keras.Model(model.input, model.operations[place - 1].output)
            inner = tensor_before_first_convolution(operation)
            return keras.Model(model.input, inner(outer.output))
        if isinstance(operation, keras.layers.Conv2D | keras.Sequential):  # ConvNeXt's stem is a Sequential
            return keras.Model(model.input, operation.input)
    raise AssertionError(f"{model.name} has no convolution")


def pixels(model: keras.Model, colour: tuple[int, int, int]) -> np.ndarray:
    """Return the values of a pixel of one-coloured photos before the first convolution, away from any padding."""
    probe = tensor_before_first_convolution(model)
    photo = np.full((1, *model.input_shape[1:]), colour, np.uint8)
    values: np.ndarray = probe(photo, training=False).numpy()
    return values[0, 32, 32]


def expected(formula: str, colour: tuple[int, int, int]) -> np.ndarray:
    x = np.array(colour, float)
    if formula == "bgr - mean":
        return x[::-1] - CAFFE_MEAN
    return np.array((x / 255 - MEAN) / STD if formula == STANDARDIZED else x / 127.5 - 1)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0)], ids=["black", "white", "red"])
def test_the_first_convolution_sees_what_the_weights_expect(
    family: tuple[registry.ModelSpec, keras.Model], colour: tuple[int, int, int]
) -> None:
    entry, model = family
    assert pixels(model, colour) == pytest.approx(expected(EXPECTED[entry.family], colour), abs=1e-3)


def assert_same_after_reloading(entry: registry.ModelSpec, model: keras.Model, file: Path) -> None:
    model.save(file)
    again = keras.models.load_model(file, compile=False, safe_mode=True)
    photos = photos_for(entry)
    logits, same_logits = (
        keras.Model(one.input, one.get_layer("logits").output)(photos, training=False).numpy() for one in (model, again)
    )
    assert np.isfinite(logits).all()
    assert logits.std() > 0
    assert np.array_equal(logits, same_logits)


def test_a_trained_model_gives_the_same_after_reloading(
    family: tuple[registry.ModelSpec, keras.Model], tmp_path: Path
) -> None:
    assert_same_after_reloading(*family, tmp_path / "model.keras")  # keras#20147


def assert_shapes(entry: registry.ModelSpec, model: keras.Model) -> None:
    assert model.input_shape == (None, side(entry), side(entry), 3)
    assert model.input.dtype == "uint8"
    assert model.output_shape == (None, CLASSES)
    assert model.get_layer("logits").kernel.shape == (entry.width, CLASSES)


def test_the_registry_says_how_wide_the_features_are(family: tuple[registry.ModelSpec, keras.Model]) -> None:
    assert_shapes(*family)


@pytest.mark.parametrize("name", ["mixnet-s", "mobilenet-0.25", "efficientnetb0"])
def test_models_of_16_bits_give_float32_probabilities(name: str) -> None:
    entry = registry.get(name)
    model = build_and_compile(Recipe("16 bits", name, side(entry), precision="mixed_bfloat16"), CLASSES, steps=1)
    assert model.get_layer("logits").output.dtype == "bfloat16"
    answer = model(photos_for(entry)).numpy()
    assert answer.dtype == np.float32
    assert answer.sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.long
def test_efficientnetv2_s_rescales_in_its_own_way() -> None:
    model = registry.build("efficientnetv2s", 64, CLASSES, 0.2)
    assert pixels(model, (0, 128, 255)) == pytest.approx([-1, 0, 127 / 128])


def test_the_registry_is_read_without_keras() -> None:
    code = "import sys, dogbreed.models.registry; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_two_models_have_one_name() -> None:
    assert len(registry.MODELS) == 39


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="mixnet-s"):
        registry.build("mixnet", 224, CLASSES, 0.2)


def test_photos_too_small_for_a_model_are_refused() -> None:
    with pytest.raises(UsageError, match="75 px"):
        registry.build("inceptionv3", 74, CLASSES, 0.2)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", registry.MODELS)
def test_every_model_trains_and_gives_the_same_after_reloading(name: str, tmp_path: Path) -> None:
    entry = registry.get(name)
    model = trained(entry)
    assert_shapes(entry, model)
    assert_same_after_reloading(entry, model, tmp_path / "model.keras")
    keras.utils.clear_session()
