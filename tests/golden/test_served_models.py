"""What a registered model consists of, the rows that it gives, and the files of batch predictions."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from pyarrow import parquet

from dogbreed.core.storage import LocalStore, ObjectInfo
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.serving import batch_predict, classifier, model_files
from dogbreed.serving.batch_predict import BatchPredictPlan
from dogbreed.serving.classifier import COLUMNS, REQUIREMENTS, SIGNATURE
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.serving.row_writers import WRITERS
from dogbreed.workflows.evaluate import evaluation_key
from tests.support.golden.images import BLOCKS
from tests.support.golden.literals import assert_json, assert_text, read_literal

CLASSES = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02088466-black-and-tan_coonhound", "my_own", "e", "f")
METADATA = ModelMetadata(CLASSES, 8, "squash", "dogbreed", "0" * 64)
PHOTOS = {"a/blocks.png": BLOCKS, "a/broken.jpg": b"no photo", "b.jpeg": BLOCKS}


class Sure:
    """Stands for a Keras model that takes the first photo for a coonhound and the others for a dog of one's own."""

    def predict_on_batch(self, photos: np.ndarray) -> np.ndarray:
        found = np.full((len(photos), len(CLASSES)), [0.05, 0.1, 0.15, 0.5, 0.125, 0.075], np.float32)
        found[0] = [0.0625, 0.125, 0.5, 0.25, 1 / 30, 0.029166667]
        return found


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same libraries on every machine, as far as hashes know."""
    monkeypatch.setattr(batch_predict, "_versions", lambda: {"pillow": "12.0.0", "tensorflow": "2.21.0"})


def test_files_of_a_model(tmp_path: Path) -> None:
    photo = keras.Input((8, 8, 3), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(photo))
    model = keras.Model(photo, keras.layers.Dense(len(CLASSES), activation="softmax")(flat))
    model_files.save(model, METADATA, tmp_path)
    store = LocalStore(tmp_path)
    assert sorted(store.list()) == ["artifacts/metadata.json", "artifacts/model.keras"]
    assert_text("metadata.json", store.read("artifacts/metadata.json").decode())
    (tmp_path / "artifacts" / "metadata.json").write_bytes(read_literal("metadata.json"))
    _, metadata = model_files.load(tmp_path)
    assert metadata == METADATA


def test_signature() -> None:
    found = {name: value and json.loads(value) for name, value in SIGNATURE.to_dict().items()}
    assert_json("signature.json", found)


def test_requirements() -> None:
    assert_json("requirements.json", list(REQUIREMENTS))


def test_rows_of_photos() -> None:
    photos = [classifier.preprocess(data, METADATA.view) for data in PHOTOS.values()]
    rows = classifier.predict_rows(Sure(), METADATA, photos)
    assert_json("answers.json", rows)
    assert [list(row) for row in rows] == [COLUMNS] * 3


def asked(tmp_path: Path, kind: str) -> BatchPredictPlan:
    """Return a prediction of three photos, of which one is broken."""
    store = LocalStore(tmp_path / "photos")
    for key, data in PHOTOS.items():
        store.commit(key, data)
    listed = tuple(ObjectInfo(key, len(data), f"version of {key}") for key, data in sorted(PHOTOS.items()))
    return batch_predict.plan_rows(store, listed, Sure(), METADATA, "d" * 64, kind, 256)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_files_of_a_batch_prediction(kind: str, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    prediction, out = asked(tmp_path, kind), LocalStore(tmp_path / "out")
    list(batch_predict.write_rows(prediction, [0], out, pool))
    manifest = batch_predict.finalize(prediction, out)
    assert manifest is not None
    (shard,) = manifest.splits["images"].shards
    assert_text(f"rows.{kind}", out.read(shard.key).decode())
    assert shard.key == f"shards/{hashlib.sha256(read_literal(f'rows.{kind}')).hexdigest()}.{kind}"
    if kind == "jsonl":
        assert_text("predictions.json", out.read("manifest.json").decode())
        assert batch_predict.counts(manifest) == {"rows": 3, "errors": 1}
        assert load_manifest(out, "predictions 3") == manifest
    assert sorted(out.list()) == [f"_parts/{prediction.config_id}/0.json", "manifest.json", shard.key]


def test_parquet_holds_the_rows_of_the_other_kinds(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in read_literal("rows.jsonl").splitlines()]
    table = parquet.read_table(io.BytesIO(WRITERS["parquet"](rows)))
    assert_text("rows-schema.txt", table.schema.remove_metadata().to_string() + "\n")
    assert table.to_pylist() == rows


def evaluation(beside: dict[str, object], names: frozenset[str] = frozenset()) -> str:
    manifest = Manifest.from_json(read_literal("manifest.json"))
    return evaluation_key({"model": "models:/dogbreed/3", "model_sha256": "d" * 64}, manifest, "test", beside, names)


def test_hashes(tmp_path: Path) -> None:
    prediction = asked(tmp_path, "parquet")
    folder = tmp_path / "model" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_bytes(read_literal("metadata.json"))
    (folder / "model.keras").write_bytes(b"weights")
    plain = {"tta": "none", "compare_with": None, "imagenet_baseline": None}
    other = {"tta": "flip", "compare_with": "whole", "imagenet_baseline": "imagenet"}
    found = {
        "model": model_files.fingerprint(tmp_path / "model"),
        "prediction, photos": prediction.empty_manifest.source_digest,
        "prediction, configuration": prediction.config_id,
        "evaluation": evaluation(plain),
        "evaluation, mirrored and compared": evaluation(other),
        "evaluation, by part": evaluation(plain, frozenset({"n02085620_7", "n02086240"})),
    }
    assert_json("served-model-hashes.json", found)
    assert prediction.empty_manifest.config == {"model_sha256": "d" * 64, "format": "parquet", "images_per_shard": 256}
    assert prediction.shards == (("images", sorted(PHOTOS)),)
