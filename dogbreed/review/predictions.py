"""Batch prediction: a row for each photo below a prefix, by the protocol that commits datasets."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from dogbreed.data import image
from dogbreed.data.dataset import MANIFEST, Manifest, QuarantinedImage, config_id
from dogbreed.data.image import BadPhoto, Pixels
from dogbreed.data.parts import Content, all_parts, make_parts, part_key, splits
from dogbreed.data.sources.image_folder import SUFFIXES
from dogbreed.data.tables import WRITERS
from dogbreed.platform import canonical_json
from dogbreed.platform.canonical_json import sha256_hex
from dogbreed.platform.errors import DogbreedError, MissingObject
from dogbreed.platform.storage import Store
from dogbreed.review import classifier, tracking
from dogbreed.review.classifier import ModelMetadata
from dogbreed.review.server import check_server
from dogbreed.review.tracking import CONFIG_ID

FORMAT = "predictions 3"  # raised by hand whenever the same options give other bytes
PHOTOS_PER_SHARD = 256  # 39 MB of 224 px squares; two shards are in memory at most
ALL = "images"  # the one split

Seen = tuple[str, Pixels | BadPhoto]  # SHA-256 of an encoded photo, and what the model sees of it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What is asked: a row for each of these photos, from this model, in files of this kind."""

    photos: Store = field(repr=False)
    listed: tuple[tuple[str, int], ...]  # key and bytes of each photo
    model: keras.Model = field(repr=False)
    card: ModelMetadata
    digest: str  # of model and card
    kind: str  # parquet, csv or jsonl
    photos_per_shard: int

    @property
    def config(self) -> dict[str, Any]:
        """What determines the bytes besides the images."""
        return {"model_sha256": self.digest, "format": self.kind, "images_per_shard": self.photos_per_shard}

    @property
    def source_digest(self) -> str:
        """Digest of the photos' names and lengths; each row holds the SHA-256 of what was read."""
        return canonical_json.digest(self.listed)

    @cached_property
    def config_id(self) -> str:
        """Name of what is asked; parts are kept below it."""
        return config_id(FORMAT, self.config, self.source_digest, _versions())

    @cached_property
    def shards(self) -> list[tuple[str, list[str]]]:
        """The one split and the keys of the photos of each shard, in order."""
        keys, length = [key for key, _ in self.listed], self.photos_per_shard
        return [(ALL, keys[start : start + length]) for start in range(0, len(keys), length)]

    def part_key(self, part: int | str) -> str:
        """Return the key of what became of a shard, by its number."""
        return part_key(self.config_id, part)


def listed(photos: Store, pool: ThreadPoolExecutor) -> tuple[tuple[str, int], ...]:
    """Return key and bytes of each JPEG and PNG below a prefix, in order; MissingObject when there is none."""
    keys = [key for key in photos.list() if PurePosixPath(key).suffix.lower() in SUFFIXES]
    if not keys:
        raise MissingObject(f"{photos.uri} holds no .jpg, .jpeg or .png; check --images")
    return tuple(zip(keys, (size or 0 for size in pool.map(photos.size, keys)), strict=True))


def prediction(photos: Store, model: Path, kind: str, shards: int | None, pool: ThreadPoolExecutor) -> Prediction:
    """Return what is asked of the downloaded model in the folder `model`; shards: about so many, None for the usual."""
    loaded, card = classifier.load(model)
    found = listed(photos, pool)
    length = ceil(len(found) / shards) if shards else PHOTOS_PER_SHARD
    return Prediction(photos, found, loaded, card, classifier.digest(model), kind, length)


def make_rows(asked: Prediction, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Make and commit those shards of rows that are not there yet; yields the photos read for each (`make_parts`).

    A photo that cannot be used has a row that says why.
    """

    def see(key: str) -> Seen:
        data = asked.photos.read(key)
        return sha256_hex(data), classifier.prepared(data, asked.card.view)

    def begin(number: int) -> Iterator[Seen]:
        return pool.map(see, asked.shards[number][1])

    def end(number: int, begun: Iterator[Seen]) -> Content:
        seen, keys = list(begun), asked.shards[number][1]
        answers = classifier.answers(asked.model, asked.card, [photo for _, photo in seen])
        rows = [
            {"image": key, "sha256": digest, **answer}
            for key, (digest, _), answer in zip(keys, seen, answers, strict=True)
        ]
        errors = tuple(QuarantinedImage(row["image"], row["error"]) for row in rows if row["error"])
        return Content(WRITERS[asked.kind](rows), len(rows), len(rows) - len(errors), errors)

    return make_parts(asked, numbers, out, begin, end, asked.kind)


def finish(asked: Prediction, out: Store) -> Manifest | None:
    """Commit the manifest when every part is there and return it, None while parts are missing."""
    parts = all_parts(asked, out)
    if parts is None:
        return None
    manifest = Manifest(
        format=FORMAT,
        config=asked.config,
        source_digest=asked.source_digest,
        versions=_versions(),
        classes=asked.card.classes,
        splits=splits(parts, [ALL]),
        quarantine=tuple(sorted(entry for part in parts for entry in part.quarantine)),
        excluded={},
        duplicates=(),
    )
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _versions() -> dict[str, str]:
    return {**image.versions(), **{name: version(name) for name in ("keras", "pyarrow")}, "tensorflow": tf.__version__}


def counts(manifest: Manifest) -> dict[str, int]:
    """Return the number of rows, and of those that hold an error."""
    return {"rows": manifest.splits[ALL].num_examples, "errors": len(manifest.quarantine)}


def log_predictions(manifest: Manifest, params: dict[str, Any], images_per_second: float | None) -> None:
    """Write the run of finished predictions unless there is one; MLflow being down is a warning.

    `images_per_second` is the rate of this worker, None where it made nothing.
    """
    try:
        check_server()
        if tracking.finished_run("predict", CONFIG_ID, manifest.config_id):
            return
        with tracking.run("predict", manifest.config_id, params, {CONFIG_ID: manifest.config_id}) as run:
            rate = {} if images_per_second is None else {"images_per_second": images_per_second}
            run.log(0, {**{name: float(count) for name, count in counts(manifest).items()}, **rate})
            run.text("manifest.json", manifest.to_json().decode())
            rows = [(entry.source_id, entry.reason) for entry in manifest.quarantine]
            table = pd.DataFrame(rows, columns=["image", "reason"])
            run.text("tables/errors.csv", table.to_csv(index=False))
    except DogbreedError as error:
        log.warning("the predictions are complete, but their run in MLflow is not: %s", error)
