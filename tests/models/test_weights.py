"""Weights that a model begins with: from Keras, from a file, from another model; never another model's unnoticed."""

import urllib.request
from pathlib import Path
from urllib.error import URLError

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from dogbreed.core.errors import DataError, EnvironmentUnsupported, NotFound, ServiceUnavailable, UsageError
from dogbreed.core.scratch import SCRATCH_LIMIT, SCRATCH_RESERVE
from dogbreed.core.storage import Store
from dogbreed.models import common, keras_applications, registry, weights

SHARED = Path(__file__).parents[3] / "shared" / "weights"
MODEL = "mobilenet-0.25"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a body, as somebody publishes them."""
    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(7)
    body = keras_applications.application("MobileNet 0.25", 32)
    body.save_weights(folder / f"{MODEL}.weights.h5")
    with h5py.File(folder / "former.h5", "w") as file:
        save_weights_to_hdf5_group(file, body)  # Keras reads that format and has no other way to write it
    return folder


def arrays(model: keras.Model) -> list[np.ndarray]:
    return [weight.numpy() for weight in common.backbone(model).weights]


def begun(where: str, folder: Path, name: str = MODEL, size: int = 32) -> keras.Model:
    model = registry.build(name, size, 3, 0.0)
    weights.load(model, weights.resolve(where, name, folder))
    return model


def same(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_folder_a_file_and_the_former_format_give_the_same_body(published: Path, tmp_path: Path) -> None:
    wanted = keras_applications.application("MobileNet 0.25", 32)
    wanted.load_weights(published / f"{MODEL}.weights.h5")
    for where in (str(published), f"{published}/{MODEL}.weights.h5", f"file://{published}/former.h5"):
        assert same(arrays(begun(where, tmp_path)), [weight.numpy() for weight in wanted.weights])


def test_a_bucket_holds_weights_too(published: Path, tmp_path: Path, store: Store) -> None:
    store.put_file(f"weights/{MODEL}.weights.h5", published / f"{MODEL}.weights.h5")
    brought = weights.resolve(f"{store.uri}/weights", MODEL, tmp_path)
    assert brought.sha256 == weights.Weights.from_file(published / f"{MODEL}.weights.h5").sha256
    assert brought.path.read_bytes() == (published / f"{MODEL}.weights.h5").read_bytes()
    with pytest.raises(NotFound):
        weights.resolve(f"{store.uri}/elsewhere", MODEL, tmp_path)


def test_weights_that_would_exceed_the_scratch_limit_are_not_written(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(SCRATCH_LIMIT, str(SCRATCH_RESERVE + 100_000))
    for where in (str(published), weights.IMAGENET):
        with pytest.raises(EnvironmentUnsupported, match=SCRATCH_LIMIT):
            weights.resolve(where, MODEL, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_models_weights_are_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mobilenetv2"):
        begun(f"{published}/{MODEL}.weights.h5", tmp_path, "mobilenetv2")
    with pytest.raises(DataError, match=r"keras\.applications"):
        begun(f"{published}/{MODEL}.weights.h5", tmp_path, "simple")


def test_a_damaged_file_is_refused(published: Path, tmp_path: Path) -> None:
    whole = (published / f"{MODEL}.weights.h5").read_bytes()
    (tmp_path / "cut.weights.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.weights.h5").write_bytes(b"no")
    for name in ("cut", "other"):
        with pytest.raises(DataError, match=rf"{name}\.weights\.h5"):
            begun(f"{tmp_path}/{name}.weights.h5", published.parent)


def test_a_model_of_the_suite_hands_its_body_to_another_number_of_breeds(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    warm = registry.build("cifar-resnet", 32, 10, 0.0)
    warm.save(tmp_path / "model.keras")
    (tmp_path / "local").mkdir()
    model = begun(f"{tmp_path}/model.keras", tmp_path / "local", "cifar-resnet", 48)
    assert same(arrays(model), arrays(warm))
    assert model.output_shape == (None, 3)


def test_efficientnets_normalization_survives_a_file(tmp_path: Path) -> None:
    body = keras_applications.application("EfficientNetB0", 64)  # its normalization is empty in such a file
    body.save_weights(tmp_path / "efficientnetb0.weights.h5")
    (tmp_path / "local").mkdir()
    model = begun(str(tmp_path), tmp_path / "local", "efficientnetb0", 64)
    layer = next(one for one in common.leaf_layers(model) if isinstance(one, keras.layers.Normalization))
    assert np.allclose(layer.mean, common.IMAGENET_MEAN)
    assert np.allclose(layer.variance, np.square(common.IMAGENET_STD))


def test_keras_own_weights_are_downloaded_once_and_kept_in_the_store(
    published: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[str] = []

    def get_file(name: str, origin: str, **_: object) -> str:  # what Keras downloads by
        downloads.append(origin)
        return str(published / "former.h5")

    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", get_file)
    sha256 = weights.cache_in_store(store, MODEL, tmp_path)
    assert weights.cache_in_store(store, MODEL, tmp_path) == sha256
    assert len(downloads) == 1
    assert downloads[0].endswith("mobilenet_2_5_224_tf_no_top.h5")
    (tmp_path / "local").mkdir()
    wanted = arrays(begun(str(published), tmp_path / "local"))
    assert same(arrays(begun(f"{store.uri}/weights", tmp_path / "local")), wanted)
    assert same(arrays(begun("imagenet", tmp_path / "local")), wanted)


def test_a_file_of_weights_is_the_same_whatever_was_built_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = keras_applications.application

    def seeded(name: str, size: int, weights: str) -> keras.Model:
        keras.utils.set_random_seed(5)
        return build(name, 32)

    monkeypatch.setattr(keras_applications, "application", seeded)
    hashes = []
    for folder, models in (("one", ("mobilenetv2", MODEL)), ("two", (MODEL, "mobilenetv2"))):
        (tmp_path / folder).mkdir()
        files = {model: weights.download(model, tmp_path / folder) for model in models}
        hashes.append({model: weights.Weights.from_file(path).sha256 for model, path in files.items()})
    assert hashes[0] == hashes[1]


def test_without_a_network_the_error_says_how_to_bring_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", offline)
    monkeypatch.setattr(urllib.request, "urlretrieve", offline)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path / "empty"))
    with pytest.raises(ServiceUnavailable, match=r"jobs\.fetch --weights mobilenetv2"):
        weights.download("mobilenetv2", tmp_path)


def test_a_model_without_published_weights_says_which_have_some(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resnet50"):
        weights.resolve("imagenet", "mixnet-s", tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real weights are not here")
@pytest.mark.parametrize(
    ("file", "model"),
    [("mobilenet_v2_1.0_notop.weights.h5", "mobilenetv2"), ("mobilenet_0.25_224_notop.h5", MODEL)],
)
def test_real_weights_load(file: str, model: str, tmp_path: Path) -> None:
    body = common.backbone(begun(f"{SHARED}/{file}", tmp_path, model, 64))
    photo = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    features = body.predict_on_batch(photo)
    assert features.std() > 0.1  # random weights die out to 0.01
