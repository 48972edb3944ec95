"""Features of a frozen body, kept in the scratch folder: many trainings of a head share them."""

import logging
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dogbreed.core import resources, scratch

FOLDER = "dogbreed-features"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """What a frozen body computes from images: float32 [n, width], and their int32 labels [n]."""

    values: np.ndarray
    labels: np.ndarray


def load_or_extract(name: str, extract: Callable[[], Features]) -> Features:
    """Return the features of the file of that name in the scratch folder; without it, extract and keep them.

    Where the scratch folder has no room for them, they are not kept.

    Args:
        name: a digest of all that determines the features.
    """
    path = scratch.own_folder(FOLDER) / f"{name}.npz"
    found = _load(path)
    if found is None:
        found = extract()
        _save(path, found)
    return found


def _load(path: Path) -> Features | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = Features(file["values"], file["labels"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:  # the archive has a CRC-32 a member
        log.warning("%s is damaged and will be written again: %s", path, error)
        return None
    log.info("%d features: %s", len(found.labels), path)
    return found


def _save(path: Path, features: Features) -> None:
    needed = features.values.nbytes + features.labels.nbytes
    if scratch.free_scratch() < needed + scratch.SCRATCH_RESERVE:
        log.info("%s has no room for %d MiB of features, which are not kept", path.parent, needed >> 20)
        return
    temporary = path.with_name(f".{uuid.uuid4().hex}.npz")
    try:
        np.savez(temporary, values=features.values, labels=features.labels)
        temporary.replace(path)
    except OSError as error:  # another process has filled the disk meanwhile
        log.warning("the features are not kept: %s", error)
        return
    finally:
        temporary.unlink(missing_ok=True)
    log.info(
        "kept %d features in %s (%.2f GiB); delete it to free the space",
        len(features.labels), path, needed / resources.GIB,
    )  # fmt: skip
