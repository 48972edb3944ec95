"""The files of a served model: model.keras and metadata.json, in a downloaded MLflow model or a folder like it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, DataError, shorten_list
from dogbreed.core.names import require_valid_name
from dogbreed.data.manifest import FORMAT, classes_from_list, classes_to_list
from dogbreed.data.resize import ResizeSpec
from dogbreed.models.common import disable_xla

OLD_METADATA = "card.json"  # of format 2


@dataclass(frozen=True)
class ModelMetadata:
    """What is needed to use the weights: classes in label order, input size, resize mode, zoom, and the dataset."""

    classes: tuple[str, ...]
    size: int  # side of the square input, pixels
    resize_mode: str
    dataset_name: str
    dataset_digest: str
    zoom: float = 1.0  # see `ResizeSpec`

    @property
    def view(self) -> ResizeSpec:
        """How an image is resized to the model's input."""
        return ResizeSpec(self.size, self.resize_mode, self.zoom)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metadata.json; a field that was added later is left out while it has its default."""
        fields: dict[str, Any] = {
            "format": FORMAT,
            "classes": classes_to_list(self.classes),
            "size": self.size,
            "resize_mode": self.resize_mode,
            "dataset_name": self.dataset_name,
            "dataset_digest": self.dataset_digest,
        }
        return fields if self.zoom == 1 else {**fields, "zoom": self.zoom}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ModelMetadata":
        """Return the metadata of a `to_dict`; KeyError, TypeError or ValueError for anything else."""
        classes, name = classes_from_list(content["classes"]), require_valid_name(content["dataset_name"])
        zoom = float(content.get("zoom", 1.0))
        return cls(classes, content["size"], content["resize_mode"], name, content["dataset_digest"], zoom)


def load_files(model: Path, metadata: Path) -> tuple[keras.Model, ModelMetadata]:
    """Return the Keras model and its metadata; CorruptData if they contradict each other, errors of Keras and json."""
    content = ModelMetadata.from_dict(json.loads(metadata.read_text()))
    network = disable_xla(keras.models.load_model(model, compile=False, safe_mode=True))
    _check_metadata(network, content)
    return network, content


def _check_metadata(model: keras.Model, metadata: ModelMetadata) -> None:
    """Raise CorruptData unless the metadata names a class for each output and the size of the input."""
    classes, outputs = metadata.classes, model.output_shape[-1]
    if outputs != len(classes):
        raise CorruptData(
            f"model.keras has {outputs} outputs, metadata.json names {len(classes)} classes: {shorten_list(classes)}"
        )
    if model.input_shape[1:3] != (metadata.view.size, metadata.view.size):  # UsageError of an invalid view
        raise CorruptData(f"model.keras takes images of {model.input_shape[1:3]} px, metadata.json has {metadata.size}")


def load(folder: Path) -> tuple[keras.Model, ModelMetadata]:
    """Return the Keras model and its metadata from a downloaded MLflow model or a folder of `save`.

    DataError if they are missing, CorruptData if they cannot be read.
    """
    model, metadata = _require_files(folder)
    try:
        return load_files(model, metadata)
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
