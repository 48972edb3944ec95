"""The served model: encoded images in, classes with probabilities out.

MLflow loads it from this file (models from code, no pickle).
"""

import base64
import os
import tempfile
from collections.abc import Sequence
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

from dogbreed.data.class_names import breed_name, wordnet_id
from dogbreed.data.images import InvalidImage, Pixels, decode_with_exif_orientation
from dogbreed.data.resize import ResizeSpec, crop_and_resize, fit_region
from dogbreed.serving.model_files import ModelMetadata, load_files, save

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


class Classifier(mlflow.pyfunc.PythonModel):
    """Predict a column `image` of encoded images, bytes or base64 text; one row for each, see `predict_rows`."""

    def load_context(self, context: Any) -> None:
        """Load the Keras model and its metadata from the logged artifacts."""
        self._model, self._metadata = load_files(Path(context.artifacts["model"]), Path(context.artifacts["metadata"]))

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
        pixels = decode_with_exif_orientation(data if isinstance(data, bytes) else _from_text(data))
    except InvalidImage as error:
        return str(error)
    with tf.device("CPU"):  # a GPU would get each image, and give it back
        whole = tf.constant([0.0, 0.0, *map(float, pixels.shape[:2])])
        return np.asarray(crop_and_resize(tf.constant(pixels), fit_region(whole, view), view.size))


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
