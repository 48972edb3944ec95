"""The served model: whatever comes in, one row a photo comes out."""

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
from dogbreed.serving import classifier
from dogbreed.serving.classifier import COLUMNS, Classifier, ModelMetadata
from tests.support.encoded_images import BLACK, claims_to_be, encoded, flat, upper_white

CLASSES = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02088466-black-and-tan_coonhound", "my_own", "e", "f")


def brightness() -> keras.Model:
    """Return a model that is sure of the first class on black photos, of the third on the upper half white."""
    photo = keras.Input((8, 8, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(photo)
    halves = keras.layers.Flatten()(keras.layers.AveragePooling2D((4, 8))(scaled))  # upper and lower, by channel
    dense = keras.layers.Dense(len(CLASSES), activation="softmax")
    model = keras.Model(photo, dense(halves), name="brightness")
    kernel = np.zeros((6, len(CLASSES)))
    kernel[:3, 2], kernel[3:, 1] = 10, 10
    dense.set_weights([kernel, np.array([5, 0, 0, -1, -2, -3])])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model."""
    folder = tmp_path_factory.mktemp("model")
    classifier.save(brightness(), ModelMetadata(CLASSES, 8, "squash", "digest"), folder)
    return folder


@pytest.fixture(scope="module")
def ask(folder: Path) -> Callable[..., pd.DataFrame]:
    """Ask the served model about some photos."""
    served = Classifier()
    artifacts = {"model": folder / "artifacts" / "model.keras", "metadata": folder / "artifacts" / "metadata.json"}
    served.load_context(SimpleNamespace(artifacts=artifacts))
    return lambda *photos: served.predict(None, pd.DataFrame({"image": list(photos)}))


def test_one_photo_gives_breed_wordnet_id_probability_and_the_best_five(ask: Callable[..., pd.DataFrame]) -> None:
    (row,) = ask(encoded(flat(BLACK))).to_dict("records")
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


def test_bytes_base64_text_and_a_data_uri_are_the_same_photo(ask: Callable[..., pd.DataFrame]) -> None:
    photo = encoded(upper_white(), kind="PNG")
    text = base64.encodebytes(photo).decode()  # with line ends
    rows = ask(photo, text, f"data:image/png;base64,{text}").to_dict("records")
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["class"] == "black-and-tan coonhound"


@pytest.mark.parametrize(
    "photo",
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
def test_every_kind_of_photo_is_seen_as_it_looks(photo: bytes, ask: Callable[..., pd.DataFrame]) -> None:
    (row,) = ask(photo).to_dict("records")
    assert (row["class"], row["error"]) == ("black-and-tan coonhound", None)


def test_a_gray_photo_of_16_bits_is_scaled(ask: Callable[..., pd.DataFrame]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(upper_white()[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    assert ask(buffer.getvalue())["class"][0] == "black-and-tan coonhound"


@pytest.mark.parametrize(("orientation", "stored"), [(1, 0), (2, 0), (3, 2), (4, 2), (5, 1), (6, 1), (7, -1), (8, -1)])
def test_exif_says_which_side_is_up(orientation: int, stored: int, ask: Callable[..., pd.DataFrame]) -> None:
    """stored: quarter turns to the left after which the upper side lies in the file where EXIF says that it does."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = encoded(np.rot90(upper_white(), stored), exif=exif, quality=95)
    assert ask(photo)["class"][0] == "black-and-tan coonhound"


def test_broken_exif_is_no_reason_to_refuse_a_photo(ask: Callable[..., pd.DataFrame]) -> None:
    photo = encoded(upper_white(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert ask(photo)["class"][0] == "black-and-tan coonhound"


GOOD = encoded(upper_white())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"", "neither JPEG nor PNG"),
        ("", "neither JPEG nor PNG"),
        (b"no photo", "neither JPEG nor PNG"),
        ("no base64!", "not base64 text"),
        (None, "neither bytes nor base64 text but NoneType"),
        (7, "neither bytes nor base64 text but int"),
        ([1, 2], "neither bytes nor base64 text but list"),
        (GOOD[: len(GOOD) // 2], "broken image"),
        (encoded(upper_white(), kind="GIF"), "neither JPEG nor PNG"),
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
        "GIF",
        "56 megapixels",
        "huge",
        "bomb",
    ],
)
def test_a_photo_that_cannot_be_used_is_an_error_in_its_own_row(
    bad: object, said: str, ask: Callable[..., pd.DataFrame]
) -> None:
    rows = ask(GOOD, bad, GOOD)
    assert rows["class"].tolist()[::2] == ["black-and-tan coonhound"] * 2
    assert rows["error"].isna().tolist() == [True, False, True]
    assert rows["error"].str.contains(said)[1], rows["error"][1]
    assert rows["top5"][1] == []
    assert rows.loc[1, ["class", "wordnet_id", "probability"]].tolist() == [None, None, None]  # NaN is no JSON
    assert rows.loc[0].notna().tolist() == [True] * 4 + [False]


def test_no_photo_gives_no_row(ask: Callable[..., pd.DataFrame]) -> None:
    assert list(ask().columns) == COLUMNS
    assert len(ask()) == 0


def test_a_batch_of_any_length_gives_the_rows_of_its_photos(ask: Callable[..., pd.DataFrame]) -> None:
    photos = [encoded(flat(BLACK)), b"bad", GOOD] * 50
    rows = ask(*photos)
    assert rows["class"].fillna("-").tolist() == ["Chihuahua", "-", "black-and-tan coonhound"] * 50


def test_a_model_that_answers_with_no_number_says_so_in_every_row() -> None:
    model = brightness()
    model.set_weights([weights * np.nan for weights in model.get_weights()])
    card = ModelMetadata(CLASSES, 8, "squash", "digest")
    (row,) = classifier.predict_rows(model, card, [classifier.preprocess(GOOD, card.view)])
    assert (row["class"], row["error"]) == (None, "the model's probabilities are not finite")


@pytest.mark.parametrize("damage", ["cut", "gone", "card"])
def test_a_damaged_model_is_said_to_be_damaged(damage: str, folder: Path, tmp_path: Path) -> None:
    model, card = classifier.save(*classifier.load(folder), tmp_path)
    if damage == "cut":
        model.write_bytes(model.read_bytes()[:1000])
    elif damage == "gone":
        model.unlink()
    else:
        card.write_text("{")
    with pytest.raises(DataError if damage == "gone" else CorruptData, match=str(tmp_path)):
        classifier.load(tmp_path)


CARD = {"classes": CLASSES, "size": 8, "shape": "squash", "dataset_digest": "digest"}
OTHER_CARDS = {
    "a field less": {"classes": CLASSES, "size": 8, "shape": "squash"},
    "a field more": {**CARD, "format": 0},
    "a field of another name": {"labels": CLASSES, "size": 8, "shape": "squash", "dataset_digest": "digest"},
}


@pytest.mark.parametrize("content", OTHER_CARDS.values(), ids=OTHER_CARDS)
def test_a_model_of_another_version_is_refused_with_what_to_do(
    content: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    model, card = classifier.load(folder)
    _, text = classifier.save(model, card, tmp_path)
    text.write_text(json.dumps(CARD))
    assert classifier.load(tmp_path)[1] == card
    text.write_text(json.dumps(content))
    with pytest.raises(CorruptData, match="train it again") as error:
        classifier.load(tmp_path)
    assert error.value.exit_code == 65


def test_the_digest_of_a_model_follows_from_its_content(folder: Path, tmp_path: Path) -> None:
    before = classifier.fingerprint(folder)
    classifier.save(classifier.load(folder)[0], ModelMetadata(CLASSES, 8, "pad", "digest"), tmp_path)
    assert len(before) == 64
    assert classifier.fingerprint(tmp_path) != before
