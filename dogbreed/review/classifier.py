"""The model that people take away: encoded photos in, breeds out. MLflow loads it from this file (no pickle)."""

import json
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import keras
import mlflow
import numpy as np
import pandas as pd
import tensorflow as tf
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema

from dogbreed.data import image
from dogbreed.data.view import View, sample, square
from dogbreed.platform.errors import DataContradiction
from dogbreed.review.metrics import breed_name

REQUIREMENTS = (  # beside TensorFlow, whose package has another name in the CPU image
    "keras",
    "mlflow-skinny",
    "numpy",
    "pandas",
    "pillow",
    "defusedxml",
    "scikit-learn",
)
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("binary", "image")]),
    outputs=Schema([ColSpec("string", "breed"), ColSpec("string", "class"), ColSpec("double", "probability")]),
)


@dataclass(frozen=True)
class Card:
    """What has to be known to use the weights: classes in label order, view, and the data behind them."""

    classes: tuple[str, ...]
    size: int
    shape: str
    dataset_digest: str

    @property
    def view(self) -> View:
        """How a photo becomes the model's square."""
        return View(self.size, self.shape)


class Classifier(mlflow.pyfunc.PythonModel):
    """Takes a column `image` of encoded JPEG or PNG photos; gives breed, class and probability a row."""

    def load_context(self, context: Any) -> None:
        """Load the Keras model and its card from the logged artifacts."""
        self._model, self._card = _load(Path(context.artifacts["model"]), Path(context.artifacts["card"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row a photo."""
        photos = np.stack([self._square(data) for data in model_input["image"]])
        probabilities = self._model.predict_on_batch(photos)
        best = probabilities.argmax(1)
        return pd.DataFrame(
            {
                "breed": [breed_name(self._card.classes[label]) for label in best],
                "class": [self._card.classes[label] for label in best],
                "probability": probabilities.max(1).astype(float),
            }
        )

    def _square(self, data: bytes) -> np.ndarray:
        photo = tf.constant(image.decode(data))
        whole = tf.constant([0.0, 0.0, *map(float, photo.shape[:2])])
        return np.asarray(sample(photo, square(whole, self._card.shape), self._card.size))


def _load(model: Path, card: Path) -> tuple[keras.Model, Card]:
    content = json.loads(card.read_text())
    loaded = keras.models.load_model(model, compile=False, safe_mode=True)
    return loaded, Card(**{**content, "classes": tuple(content["classes"])})


def load(folder: Path) -> tuple[keras.Model, Card]:
    """Return the Keras model and the card inside a downloaded MLflow model, or where `save` put them."""
    model, card = _files(folder)
    if not (model.exists() and card.exists()):
        raise DataContradiction(f"{folder} holds no dogbreed model (artifacts/model.keras and card.json)")
    return _load(model, card)


def keras_file(folder: Path) -> Path:
    """Return the Keras model inside a downloaded MLflow model."""
    model, _ = _files(folder)
    if not model.exists():
        raise DataContradiction(f"{folder} holds no dogbreed model (artifacts/model.keras)")
    return model


def save(model: keras.Model, card: Card, folder: Path) -> tuple[Path, Path]:
    """Write model and card below `folder`, as in a logged model, and return their paths."""
    weights, text = _files(folder)
    weights.parent.mkdir(parents=True, exist_ok=True)
    keras.Model(model.input, model.output, name=model.name).save(weights)  # without optimizer and its moments
    text.write_text(json.dumps(asdict(card), indent=1))
    return weights, text


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "artifacts" / "model.keras", folder / "artifacts" / "card.json"


def log_model(model: keras.Model, card: Card, example: bytes) -> ModelInfo:
    """Log the model to the active run."""
    with tempfile.TemporaryDirectory() as folder:
        weights, text = save(model, card, Path(folder))
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=__file__,
            artifacts={"model": str(weights), "card": str(text)},
            code_paths=[str(Path(__file__).parents[1])],
            signature=SIGNATURE,
            input_example=pd.DataFrame({"image": [example]}),
            pip_requirements=[f"tensorflow=={tf.__version__}", *(f"{name}=={version(name)}" for name in REQUIREMENTS)],
        )
    return cast(ModelInfo, info)


mlflow.models.set_model(Classifier())  # what MLflow looks for when it runs this file
