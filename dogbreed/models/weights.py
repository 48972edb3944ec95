"""Pretrained weights: those that Keras publishes, a file, or another model of this suite."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from dogbreed.core.canonical_json import sha256_hex, sha256_of_file
from dogbreed.core.errors import AlreadyExists, DataError, ServiceUnavailable, UsageError
from dogbreed.core.scratch import check_free_scratch
from dogbreed.core.storage import Store, read_uri
from dogbreed.models import common, keras_applications, registry, stats_table

IMAGENET = "imagenet"
IMAGENET_CLASSES = 1000
SUFFIX = ".weights.h5"  # Keras' present format; its former one is plain .h5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """A local file of weights."""

    path: Path
    sha256: str

    @classmethod
    def from_file(cls, path: Path) -> "Weights":
        """Return the file with its hash."""
        return cls(path, sha256_of_file(path))


def resolve(weights: str, model: str, folder: Path) -> Weights:
    """Download or copy weights into the local `folder`.

    Args:
        weights: `imagenet`, the URI of a file, or a folder or prefix with `<model>.weights.h5`.
    """
    if weights == IMAGENET:
        return Weights.from_file(download(model, folder))
    uri = weights if weights.endswith((".h5", ".keras")) else f"{weights.rstrip('/')}/{model}{SUFFIX}"
    return Weights.from_file(copy_file(uri, folder / uri.rpartition("/")[2]))


def copy_file(uri: str, path: Path) -> Path:
    """Copy the file at a URI to a local path and return that."""
    data = read_uri(uri)
    check_free_scratch(len(data), f"a copy of {uri}", path.parent)
    path.write_bytes(data)
    return path


def require_published(model: str) -> None:
    """Raise UsageError when Keras has no ImageNet weights of `model`."""
    if not registry.get(model).imagenet:
        known = ", ".join(known.name for known in registry.MODELS.values() if known.imagenet)
        raise UsageError(f"Keras has no ImageNet weights of {model}; it has those of {known}")


def download(model: str, folder: Path) -> Path:
    """Write Keras' ImageNet weights of `model` to `folder` and return the file; ServiceUnavailable without a network.

    Keras verifies its download and caches it in ~/.keras (KERAS_HOME).
    """
    require_published(model)
    spec = registry.get(model)
    path = folder / f"{model}{SUFFIX}"
    check_free_scratch(2 * keras_file_bytes(model), f"Keras' weights of {model} and their copy", folder)
    keras.utils.clear_session()  # names of layers count up within a process, and the file holds them
    try:
        keras_applications.application(spec.builder.partition(".")[2], spec.size, IMAGENET).save_weights(path)
    except Exception as error:
        if "URL fetch failure" not in str(error):  # a bare Exception in keras.utils.get_file
            raise
        raise ServiceUnavailable(
            f"Keras could not download the weights of {model} ({error}); where there is a network, "
            f"run jobs.fetch --weights {model} --raw URI, then train with --weights URI/weights"
        ) from error
    return path


def keras_file_bytes(model: str) -> int:
    """Return about how long the file of a model's ImageNet classifier is that Keras downloads: four bytes a number."""
    return 4 * stats_table.get_stats(registry.get(model), IMAGENET_CLASSES).parameters


def cache_in_store(raw: Store, model: str, folder: Path) -> str:
    """Write Keras' ImageNet weights of `model` below weights/, unless they exist, and return their SHA-256."""
    key = f"weights/{model}{SUFFIX}"
    if raw.size(key) is None:
        with suppress(AlreadyExists):  # another process was faster
            raw.put_file(key, download(model, folder))
    return sha256_hex(raw.read(key))


def load(model: keras.Model, weights: Weights) -> None:
    """Load weights into the model's backbone; DataError when they are those of another model."""
    body = common.backbone(model)
    with require_all_loaded(body, model.name, weights.path.name):
        if weights.path.suffix == ".keras":
            _copy(common.backbone(keras.models.load_model(weights.path, compile=False, safe_mode=True)), body)
        else:
            _load_file(body, weights.path)
    log.info("%s is initialized with %s, SHA-256 %s", model.name, weights.path.name, weights.sha256)


@contextmanager
def require_all_loaded(body: keras.Model, name: str, file: str) -> Iterator[None]:
    """Raise DataError when the block cannot load weights into the body, or does not change a layer of it.

    name, file: of the model and of the weights, for messages.
    """
    before = [layer.get_weights() for layer in _weighted(body)]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping nested container")  # a second listing of the same layers
            yield
    except (ValueError, TypeError, OSError) as error:
        raise DataError(f"{file} does not hold weights of {name}: {error}") from error
    after = [layer.get_weights() for layer in _weighted(body)]
    same = [old[0].ndim > 1 and np.array_equal(old[0], new[0]) for old, new in zip(before, after, strict=True)]
    if any(same):  # Keras only warns about layers that it does not find
        raise DataError(f"{file} does not hold weights of {sum(same)} layers of {name}")


def _load_file(body: keras.Model, path: Path) -> None:
    nested = [layer for layer in body.layers if isinstance(layer, keras.Model)]
    if len(nested) != 1:
        raise ValueError("only models of keras.applications are loaded from such a file; name a .keras file")
    nested[0].load_weights(path)
    keras_applications.fill_normalization(nested[0])


def _copy(source: keras.Model, body: keras.Model) -> None:
    """Copy layer by layer, in order: names of layers count up within a process."""
    for theirs, ours in zip(_weighted(source), _weighted(body), strict=True):
        ours.set_weights(theirs.get_weights())


def _weighted(body: keras.Model) -> list[keras.Layer]:
    return [layer for layer in common.leaf_layers(body) if layer.weights]
