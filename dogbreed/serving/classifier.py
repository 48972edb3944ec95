"""The served model: encoded images in, classes with probabilities out.

MLflow loads it from this file (models from code, no pickle).
"""

import base64
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever a server's environment says: Keras reads it when it is imported

import keras
import mlflow
import numpy as np
import pandas as pd
import tensorflow as tf
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import Array, Object, Property

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, DataError, shorten_list
from dogbreed.core.names import require_valid_name
from dogbreed.data.class_names import breed_name, wordnet_id
from dogbreed.data.images import InvalidImage, Pixels, decode_with_exif_orientation
from dogbreed.data.manifest import FORMAT, classes_from_list, classes_to_list
from dogbreed.data.resize import ResizeSpec, crop_and_resize, fit_region

REQUIREMENTS = (  # of this file and its imports; TensorFlow is added, its package has another name in the CPU image
    "keras",
    "mlflow-skinny",
    "numpy",
    "pandas",
    "pillow",
    "simplejpeg",
    "opencv-python-headless",
    "defusedxml",
)
BATCH = 64  # images per forward pass, however many a request has
TOP = 5
OLD_METADATA = "card.json"  # of format 2
_TOP5 = Array(Object([Property("class", "string"), Property("probability", "double")]))
SIGNATURE = ModelSignature(
    # not a binary column: MLflow's server would decode it and refuse the whole batch for one row that is not base64
    inputs=Schema([ColSpec("string", "image")]),
    outputs=Schema(
        [
            ColSpec("string", "class", required=False),
            ColSpec("string", "wordnet_id", required=False),  # classes of other datasets have none
            ColSpec("double", "probability", required=False),
            ColSpec(_TOP5, "top5"),
            ColSpec("string", "error", required=False),
        ]
    ),
)
COLUMNS = SIGNATURE.outputs.input_names()

ResponseRow = dict[str, Any]  # column -> value


@dataclass(frozen=True)
class ModelMetadata:
    """What is needed to use the weights: classes in label order, input size, resize mode, and the dataset."""

    classes: tuple[str, ...]
    size: int  # side of the square input, pixels
    resize_mode: str
    dataset_name: str
    dataset_digest: str

    @property
    def view(self) -> ResizeSpec:
        """How an image is resized to the model's input."""
        return ResizeSpec(self.size, self.resize_mode)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metadata.json."""
        return {
            "format": FORMAT,
            "classes": classes_to_list(self.classes),
            "size": self.size,
            "resize_mode": self.resize_mode,
            "dataset_name": self.dataset_name,
            "dataset_digest": self.dataset_digest,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ModelMetadata":
        """Return the metadata of a `to_dict`; KeyError, TypeError or ValueError for anything else."""
        classes, name = classes_from_list(content["classes"]), require_valid_name(content["dataset_name"])
        return cls(classes, content["size"], content["resize_mode"], name, content["dataset_digest"])


class Classifier(mlflow.pyfunc.PythonModel):
    """Predict a column `image` of encoded images, bytes or base64 text; one row for each, see `predict_rows`."""

    def load_context(self, context: Any) -> None:
        """Load the Keras model and its metadata from the logged artifacts."""
        self._model, self._metadata = _load(Path(context.artifacts["model"]), Path(context.artifacts["metadata"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row per image."""
        images = [preprocess(data, self._metadata.view) for data in model_input["image"]]
        # dtype object: in a column of numbers None becomes NaN, which MLflow's server writes and JSON does not allow
        return pd.DataFrame(predict_rows(self._model, self._metadata, images), columns=COLUMNS, dtype=object)


def preprocess(data: object, view: ResizeSpec) -> Pixels | str:
    """Return an image as the model's input, uint8 [size, size, 3], or the reason why it cannot be used.

    data: the bytes of an encoded image, or those as base64 text, which may be a data: URI.
    """
    try:
        image = tf.constant(decode_with_exif_orientation(data if isinstance(data, bytes) else _from_text(data)))
    except InvalidImage as error:
        return str(error)
    whole = tf.constant([0.0, 0.0, *map(float, image.shape[:2])])
    return np.asarray(crop_and_resize(image, fit_region(whole, view.mode), view.size))


def _from_text(text: object) -> bytes:
    if not isinstance(text, str):
        raise InvalidImage(f"neither bytes nor base64 text but {type(text).__name__}")
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise InvalidImage(f"not base64 text: {error}") from error


def predict_rows(model: keras.Model, metadata: ModelMetadata, images: Sequence[Pixels | str]) -> list[ResponseRow]:
    """Return a row for each `preprocess`ed image: class, wordnet_id, probability, top5, error.

    probability is rounded to a millionth; top5 is a list of {class, probability}, the most probable first. For an
    image that cannot be used, `error` is the reason and the other columns are empty.
    """
    valid = [image for image in images if not isinstance(image, str)]
    batches = [np.stack(valid[start : start + BATCH]) for start in range(0, len(valid), BATCH)]
    predicted = iter([row for batch in batches for row in model.predict_on_batch(batch)])
    return [
        _error_row(image) if isinstance(image, str) else _response_row(metadata, next(predicted)) for image in images
    ]


def _response_row(metadata: ModelMetadata, probabilities: np.ndarray) -> ResponseRow:
    if not np.isfinite(probabilities).all():
        return _error_row("the model's probabilities are not finite")
    ranked = np.argsort(-probabilities, kind="stable")[:TOP]
    top = [(metadata.classes[label], round(float(probabilities[label]), 6)) for label in ranked]
    name, probability = top[0]
    top5 = [{"class": breed_name(name), "probability": probability} for name, probability in top]
    row = {"class": breed_name(name), "wordnet_id": wordnet_id(name), "probability": probability}
    return {**row, "top5": top5, "error": None}


def _error_row(reason: str) -> ResponseRow:
    return {"class": None, "wordnet_id": None, "probability": None, "top5": [], "error": reason}


def _load(model: Path, metadata: Path) -> tuple[keras.Model, ModelMetadata]:
    content = ModelMetadata.from_dict(json.loads(metadata.read_text()))
    network = keras.models.load_model(model, compile=False, safe_mode=True)
    _check_metadata(network, content)
    return network, content


def _check_metadata(model: keras.Model, metadata: ModelMetadata) -> None:
    """Raise CorruptData unless the metadata names a class for each output and the size of the input."""
    classes, outputs = metadata.classes, model.output_shape[-1]
    if outputs != len(classes):
        raise CorruptData(
            f"model.keras has {outputs} outputs, metadata.json names {len(classes)} classes: {shorten_list(classes)}"
        )
    if model.input_shape[1:3] != (metadata.size, metadata.size):
        raise CorruptData(f"model.keras takes images of {model.input_shape[1:3]} px, metadata.json has {metadata.size}")


def load(folder: Path) -> tuple[keras.Model, ModelMetadata]:
    """Return the Keras model and its metadata from a downloaded MLflow model or a folder of `save`.

    DataError if they are missing, CorruptData if they cannot be read.
    """
    model, metadata = _require_files(folder)
    try:
        return _load(model, metadata)
    except Exception as error:  # Keras raises the errors of zipfile, h5py and json as they are
        raise CorruptData(f"the model at {folder} cannot be loaded ({error}); train it again") from error


def _check_format(folder: Path) -> None:
    """Raise DataError for a model of another format of this suite."""
    _, metadata = _files(folder)
    found: object = FORMAT
    if metadata.exists():
        with suppress(ValueError, AttributeError):  # `load` reports a damaged file
            found = json.loads(metadata.read_text()).get("format")
    elif (metadata.parent / OLD_METADATA).exists():
        found = 2
    if found != FORMAT:
        raise DataError(
            f"the model at {folder} has format {found}, this version reads {FORMAT}; "
            "train it again with jobs.train --restart"
        )


def model_path(folder: Path) -> Path:
    """Return the path of the Keras model in a downloaded MLflow model; DataError if there is none."""
    model, _ = _files(folder)
    _check_format(folder)
    if not model.exists():
        raise DataError(f"{folder} has no dogbreed model (artifacts/model.keras)")
    return model


def save(model: keras.Model, metadata: ModelMetadata, folder: Path) -> tuple[Path, Path]:
    """Write model and metadata below `folder`, laid out as in a logged model, and return their paths."""
    weights, text = _files(folder)
    weights.parent.mkdir(parents=True, exist_ok=True)
    keras.Model(model.input, model.output, name=model.name).save(weights)  # without the optimizer
    text.write_text(json.dumps(metadata.to_dict(), indent=1))
    return weights, text


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of model and metadata in a downloaded MLflow model; DataError if they are missing."""
    return sha256_hex(b"".join(path.read_bytes() for path in _require_files(folder)))


def _require_files(folder: Path) -> tuple[Path, Path]:
    """Return the paths of model and metadata; DataError if one is missing or they have another format."""
    model, metadata = _files(folder)
    _check_format(folder)
    if not (model.exists() and metadata.exists()):
        raise DataError(f"{folder} has no dogbreed model (artifacts/model.keras and metadata.json)")
    return model, metadata


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "artifacts" / "model.keras", folder / "artifacts" / "metadata.json"


def log_model(model: keras.Model, metadata: ModelMetadata, example: bytes) -> ModelInfo:
    """Log the model to the active run; `example` is an encoded image."""
    with tempfile.TemporaryDirectory() as folder:
        weights, text = save(model, metadata, Path(folder))
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=__file__,
            artifacts={"model": str(weights), "metadata": str(text)},
            code_paths=[str(Path(__file__).parents[1])],
            signature=SIGNATURE,
            input_example=pd.DataFrame({"image": [base64.b64encode(example).decode()]}),
            pip_requirements=[f"tensorflow=={tf.__version__}", *(f"{name}=={version(name)}" for name in REQUIREMENTS)],
        )
    return cast(ModelInfo, info)


mlflow.models.set_model(Classifier())  # MLflow runs this file to load the model
