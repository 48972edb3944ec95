"""The served model: one row per image, whatever the input."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dogbreed.core.errors import CorruptData, DataError
from dogbreed.core.storage import LocalStore
from dogbreed.data.builder import make_examples
from dogbreed.data.config import DatasetConfig
from dogbreed.data.images import decode
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import open_source
from dogbreed.data.resize import ResizeSpec
from dogbreed.serving import classifier, model_files
from dogbreed.serving.classifier import COLUMNS, Classifier
from dogbreed.serving.model_files import ModelMetadata
from tests.support.encoded_images import BLACK, claims_to_be, encoded, flat, upper_white

CLASSES = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02088466-black-and-tan_coonhound", "my_own", "e", "f")


def brightness() -> keras.Model:
    """Return a model that predicts the first class for black images, the third for a white upper half."""
    image = keras.Input((8, 8, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    halves = keras.layers.Flatten()(keras.layers.AveragePooling2D((4, 8))(scaled))  # upper and lower, by channel
    dense = keras.layers.Dense(len(CLASSES), activation="softmax")
    model = keras.Model(image, dense(halves), name="brightness")
    kernel = np.zeros((6, len(CLASSES)))
    kernel[:3, 2], kernel[3:, 1] = 10, 10
    dense.set_weights([kernel, np.array([5, 0, 0, -1, -2, -3])])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model."""
    folder = tmp_path_factory.mktemp("model")
    model_files.save(brightness(), ModelMetadata(CLASSES, 8, "squash", "dogbreed", "digest"), folder)
    return folder


@pytest.fixture(scope="module")
def predict(folder: Path) -> Callable[..., pd.DataFrame]:
    """Return a function that predicts some encoded images."""
    served = Classifier()
    artifacts = {"model": folder / "artifacts" / "model.keras", "metadata": folder / "artifacts" / "metadata.json"}
    served.load_context(SimpleNamespace(artifacts=artifacts))
    return lambda *images: served.predict(None, pd.DataFrame({"image": list(images)}))


def test_a_row_has_class_wordnet_id_probability_and_top_five(predict: Callable[..., pd.DataFrame]) -> None:
    (row,) = predict(encoded(flat(BLACK))).to_dict("records")
    assert list(row) == COLUMNS == ["class", "wordnet_id", "probability", "top5", "error"]
    assert (row["class"], row["wordnet_id"], row["error"]) == ("Chihuahua", "n02085620", None)
    odds = np.exp([5, 0, 0, -1, -2, -3])
    assert [best["class"] for best in row["top5"]] == [
        "Chihuahua",
        "Shih-Tzu",
        "black-and-tan coonhound",
        "my own",
        "e",
    ]
    assert [best["probability"] for best in row["top5"]] == pytest.approx(list(odds[:5] / odds.sum()), abs=1e-6)
    assert row["probability"] == row["top5"][0]["probability"]


def test_bytes_base64_text_and_a_data_uri_are_the_same_image(predict: Callable[..., pd.DataFrame]) -> None:
    image = encoded(upper_white(), kind="PNG")
    text = base64.encodebytes(image).decode()  # with line ends
    rows = predict(image, text, f"data:image/png;base64,{text}").to_dict("records")
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["class"] == "black-and-tan coonhound"


@pytest.mark.parametrize(
    "image",
    [
        encoded(upper_white()),
        encoded(upper_white(), "CMYK"),
        encoded(upper_white(), "L"),
        encoded(upper_white(), "RGBA", "PNG"),
        encoded(upper_white(), "LA", "PNG"),
        encoded(upper_white(), "P", "PNG"),
        encoded(upper_white(), "1", "PNG"),
        encoded(upper_white(), progressive=True),
    ],
    ids=["JPEG", "CMYK", "gray", "alpha", "gray with alpha", "palette", "one bit", "progressive"],
)
def test_every_kind_of_image_is_decoded(image: bytes, predict: Callable[..., pd.DataFrame]) -> None:
    (row,) = predict(image).to_dict("records")
    assert (row["class"], row["error"]) == ("black-and-tan coonhound", None)


def test_a_gray_image_of_16_bits_is_scaled(predict: Callable[..., pd.DataFrame]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(upper_white()[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    assert predict(buffer.getvalue())["class"][0] == "black-and-tan coonhound"


@pytest.mark.parametrize(("orientation", "stored"), [(1, 0), (2, 0), (3, 2), (4, 2), (5, 1), (6, 1), (7, -1), (8, -1)])
def test_exif_orientation_is_applied(orientation: int, stored: int, predict: Callable[..., pd.DataFrame]) -> None:
    """stored: quarter turns to the left of the pixels in the file, which the EXIF orientation undoes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = encoded(np.rot90(upper_white(), stored), exif=exif, quality=95)
    assert predict(image)["class"][0] == "black-and-tan coonhound"


def test_an_image_with_broken_exif_is_accepted(predict: Callable[..., pd.DataFrame]) -> None:
    image = encoded(upper_white(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert predict(image)["class"][0] == "black-and-tan coonhound"


GOOD = encoded(upper_white())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "empty file"),
        ("", "empty file"),
        (b"no image", "not an image of a known format"),
        ("no base64!", "not base64 text"),
        (None, "neither bytes nor base64 text but NoneType"),
        (7, "neither bytes nor base64 text but int"),
        ([1, 2], "neither bytes nor base64 text but list"),
        (GOOD[: len(GOOD) // 2], "broken image"),
        (encoded(upper_white(), kind="ICO"), "not an image of a known format"),
        (encoded(np.zeros((7000, 8000, 3), np.uint8), quality=1), "8000 x 7000 pixels, limit 50000000"),
        (claims_to_be(9_000, 9_000), "9000 x 9000 pixels, limit 50000000"),
        (claims_to_be(30_000, 30_000), "decompression bomb"),
    ],
    ids=[
        "empty",
        "no text",
        "text",
        "no base64",
        "none",
        "number",
        "list",
        "half",
        "ICO",
        "56 megapixels",
        "huge",
        "bomb",
    ],
)
def test_an_invalid_image_is_an_error_in_its_own_row(
    bad: object, message: str, predict: Callable[..., pd.DataFrame]
) -> None:
    rows = predict(GOOD, bad, GOOD)
    assert rows["class"].tolist()[::2] == ["black-and-tan coonhound"] * 2
    assert rows["error"].isna().tolist() == [True, False, True]
    assert rows["error"].str.contains(message)[1], rows["error"][1]
    assert rows["top5"][1] == []
    assert rows.loc[1, ["class", "wordnet_id", "probability"]].tolist() == [None, None, None]  # NaN is no JSON
    assert rows.loc[0].notna().tolist() == [True] * 4 + [False]


def test_no_image_gives_no_row(predict: Callable[..., pd.DataFrame]) -> None:
    assert list(predict().columns) == COLUMNS
    assert len(predict()) == 0


def test_a_batch_of_any_length_gives_the_rows_of_its_images(predict: Callable[..., pd.DataFrame]) -> None:
    images = [encoded(flat(BLACK)), b"bad", GOOD] * 50
    rows = predict(*images)
    assert rows["class"].fillna("-").tolist() == ["Chihuahua", "-", "black-and-tan coonhound"] * 50


def test_probabilities_that_are_not_finite_are_an_error_in_every_row() -> None:
    model = brightness()
    model.set_weights([weights * np.nan for weights in model.get_weights()])
    card = ModelMetadata(CLASSES, 8, "squash", "dogbreed", "digest")
    (row,) = classifier.predict_rows(model, card, [classifier.preprocess(GOOD, card.view)])
    assert (row["class"], row["error"]) == (None, "the model's probabilities are not finite")


@pytest.mark.parametrize("damage", ["cut", "gone", "card"])
def test_a_damaged_model_is_corrupt_data(damage: str, folder: Path, tmp_path: Path) -> None:
    model, card = model_files.save(*model_files.load(folder), tmp_path)
    if damage == "cut":
        model.write_bytes(model.read_bytes()[:1000])
    elif damage == "gone":
        model.unlink()
    else:
        card.write_text("{")
    with pytest.raises(DataError if damage == "gone" else CorruptData, match=str(tmp_path)):
        model_files.load(tmp_path)


@pytest.mark.parametrize("name", ["metadata.json", "card.json"])
def test_a_model_of_format_2_is_refused_with_the_command_to_run(name: str, folder: Path, tmp_path: Path) -> None:
    _, metadata = model_files.save(*model_files.load(folder), tmp_path)
    metadata.unlink()
    content = {"classes": CLASSES, "size": 8, "shape": "squash", "dataset_digest": "digest"}
    metadata.with_name(name).write_text(json.dumps(content))
    for load in (model_files.load, model_files.model_path):
        with pytest.raises(DataError, match=r"format .*jobs\.train") as error:
            load(tmp_path)
        assert error.value.exit_code == 65
        assert not isinstance(error.value, CorruptData), "a whole model of another version"


def test_a_model_without_a_field_of_its_metadata_is_corrupt(folder: Path, tmp_path: Path) -> None:
    _, metadata = model_files.save(*model_files.load(folder), tmp_path)
    content = json.loads(metadata.read_text())
    del content["size"]
    metadata.write_text(json.dumps(content))
    with pytest.raises(CorruptData, match="train it again"):
        model_files.load(tmp_path)


@pytest.mark.parametrize("classes", [CLASSES[:4], (*CLASSES, "g")], ids=["fewer", "more"])
def test_metadata_with_another_number_of_classes_than_outputs_is_named(
    classes: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    model, metadata = model_files.save(
        model_files.load(folder)[0], ModelMetadata(classes, 8, "squash", "dogbreed", "-"), tmp_path
    )
    found = rf"6 outputs, metadata\.json names {len(classes)} classes: n02085620-Chihuahua, "
    with pytest.raises(CorruptData, match=found):
        model_files.load(tmp_path)
    with pytest.raises(CorruptData, match=found):  # when the model is served
        Classifier().load_context(SimpleNamespace(artifacts={"model": model, "metadata": metadata}))


def test_metadata_with_another_size_than_the_input_is_named(folder: Path, tmp_path: Path) -> None:
    model_files.save(model_files.load(folder)[0], ModelMetadata(CLASSES, 16, "squash", "dogbreed", "-"), tmp_path)
    with pytest.raises(CorruptData, match=r"takes images of \(8, 8\) px, metadata\.json has 16"):
        model_files.load(tmp_path)


def test_the_fingerprint_of_a_model_depends_on_its_content(folder: Path, tmp_path: Path) -> None:
    before = model_files.fingerprint(folder)
    model_files.save(model_files.load(folder)[0], ModelMetadata(CLASSES, 8, "pad", "dogbreed", "digest"), tmp_path)
    assert len(before) == 64
    assert model_files.fingerprint(tmp_path) != before


def test_a_served_model_sees_the_centre_that_its_metadata_names(tmp_path: Path) -> None:
    metadata = ModelMetadata(CLASSES, 8, "squash", "dogbreed", "digest", zoom=1.25)
    assert ModelMetadata.from_dict(metadata.to_dict()) == metadata
    model_files.save(brightness(), metadata, tmp_path)
    assert model_files.load(tmp_path)[1] == metadata
    pixels = np.random.default_rng(0).integers(0, 256, (10, 10, 3), np.uint8)
    shown = classifier.preprocess(encoded(pixels, kind="PNG"), metadata.view)
    assert np.array_equal(shown, pixels[1:9, 1:9])


def test_metadata_without_a_zoom_have_none_and_those_of_no_zoom_are_unchanged() -> None:
    metadata = ModelMetadata(CLASSES, 8, "squash", "dogbreed", "digest", zoom=1.0)
    assert "zoom" not in metadata.to_dict()
    assert ModelMetadata.from_dict(metadata.to_dict()).view == ResizeSpec(8)


@pytest.mark.parametrize("zoom", [0.5, "wide", None])
def test_metadata_with_an_impossible_zoom_are_corrupt(zoom: object, folder: Path, tmp_path: Path) -> None:
    _, metadata = model_files.save(*model_files.load(folder), tmp_path)
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "zoom": zoom}))
    with pytest.raises(CorruptData, match="train it again"):
        model_files.load(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_dataset_holds_the_pixels_that_the_model_is_served(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows, columns = np.mgrid[:48, :48].astype(np.uint8) * 5
    data = encoded(np.dstack([rows, columns, rows]), kind="PNG", exif=exif)
    raw = LocalStore(tmp_path)
    for key in ("a/1.png", "b/2.png"):
        raw.put(key, data)
    plan = plan_dataset(open_source("image-folder", raw), DatasetConfig(size=48, split="stratified"))
    (example,) = make_examples(plan, plan.images[0])
    assert np.abs(decode(example.encoded).astype(int) - classifier.preprocess(data, ResizeSpec(48))).max() < 12
