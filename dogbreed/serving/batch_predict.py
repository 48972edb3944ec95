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

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import DogbreedError, NotFound
from dogbreed.core.storage import Store
from dogbreed.data import images
from dogbreed.data.images import InvalidImage, Pixels
from dogbreed.data.manifest import MANIFEST, Manifest, QuarantinedImage, config_id
from dogbreed.data.raw.image_folder import SUFFIXES
from dogbreed.data.sharded_work import ShardOutput, group_by_split, load_results, part_key, process_shards
from dogbreed.serving import classifier
from dogbreed.serving.classifier import ModelMetadata
from dogbreed.serving.row_writers import WRITERS
from dogbreed.tracking import runs
from dogbreed.tracking.mlflow_errors import ping
from dogbreed.tracking.runs import CONFIG_ID

FORMAT = "predictions 3"  # raised by hand whenever the same options give other bytes
PHOTOS_PER_SHARD = 256  # 39 MB of 224 px squares; two shards are in memory at most
SPLIT = "images"  # the one split

Seen = tuple[str, Pixels | InvalidImage]  # SHA-256 of an encoded photo, and what the model sees of it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchPredictPlan:
    """What is asked: a row for each of these photos, from this model, in files of this kind."""

    photos: Store = field(repr=False)
    listing: tuple[tuple[str, int], ...]  # key and bytes of each photo
    model: keras.Model = field(repr=False)
    metadata: ModelMetadata
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
        return canonical_json.digest(self.listing)

    @cached_property
    def config_id(self) -> str:
        """Name of what is asked; parts are kept below it."""
        return config_id(FORMAT, self.config, self.source_digest, _versions())

    @cached_property
    def shards(self) -> list[tuple[str, list[str]]]:
        """The one split and the keys of the photos of each shard, in order."""
        keys, length = [key for key, _ in self.listing], self.photos_per_shard
        return [(SPLIT, keys[start : start + length]) for start in range(0, len(keys), length)]

    def part_key(self, part: int | str) -> str:
        """Return the key of what became of a shard, by its number."""
        return part_key(self.config_id, part)


def list_images(photos: Store, pool: ThreadPoolExecutor) -> tuple[tuple[str, int], ...]:
    """Return key and bytes of each JPEG and PNG below a prefix, in order; NotFound when there is none."""
    keys = [key for key in photos.list() if PurePosixPath(key).suffix.lower() in SUFFIXES]
    if not keys:
        raise NotFound(f"{photos.uri} holds no .jpg, .jpeg or .png; check --images")
    return tuple(zip(keys, (size or 0 for size in pool.map(photos.size, keys)), strict=True))


def plan(photos: Store, model: Path, kind: str, shards: int | None, pool: ThreadPoolExecutor) -> BatchPredictPlan:
    """Return what is asked of the downloaded model in the folder `model`; shards: about so many, None for the usual."""
    loaded, metadata = classifier.load(model)
    found = list_images(photos, pool)
    length = ceil(len(found) / shards) if shards else PHOTOS_PER_SHARD
    return BatchPredictPlan(photos, found, loaded, metadata, classifier.fingerprint(model), kind, length)


def write_rows(plan: BatchPredictPlan, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Make and commit those shards of rows that are not there yet; yields the photos read for each (`process_shards`).

    A photo that cannot be used has a row that says why.
    """

    def see(key: str) -> Seen:
        data = plan.photos.read(key)
        return sha256_hex(data), classifier.preprocess(data, plan.metadata.view)

    def start(number: int) -> Iterator[Seen]:
        return pool.map(see, plan.shards[number][1])

    def finish(number: int, begun: Iterator[Seen]) -> ShardOutput:
        seen, keys = list(begun), plan.shards[number][1]
        answers = classifier.predict_rows(plan.model, plan.metadata, [photo for _, photo in seen])
        rows = [
            {"image": key, "sha256": digest, **answer}
            for key, (digest, _), answer in zip(keys, seen, answers, strict=True)
        ]
        errors = tuple(QuarantinedImage(row["image"], row["error"]) for row in rows if row["error"])
        return ShardOutput(WRITERS[plan.kind](rows), len(rows), len(rows) - len(errors), errors)

    return process_shards(plan, numbers, out, start, finish, plan.kind)


def finalize(plan: BatchPredictPlan, out: Store) -> Manifest | None:
    """Commit the manifest when every part is there and return it, None while parts are missing."""
    parts = load_results(plan, out)
    if parts is None:
        return None
    manifest = Manifest(
        format=FORMAT,
        config=plan.config,
        source_digest=plan.source_digest,
        versions=_versions(),
        classes=plan.metadata.classes,
        splits=group_by_split(parts, [SPLIT]),
        quarantine=tuple(sorted(entry for part in parts for entry in part.quarantine)),
        excluded={},
        duplicates=(),
    )
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _versions() -> dict[str, str]:
    return {**images.versions(), **{name: version(name) for name in ("keras", "pyarrow")}, "tensorflow": tf.__version__}


def counts(manifest: Manifest) -> dict[str, int]:
    """Return the number of rows, and of those that hold an error."""
    return {"rows": manifest.splits[SPLIT].num_examples, "errors": len(manifest.quarantine)}


def log_predictions(manifest: Manifest, params: dict[str, Any], images_per_second: float | None) -> None:
    """Write the run of finished predictions unless there is one; MLflow being down is a warning.

    `images_per_second` is the rate of this worker, None where it made nothing.
    """
    try:
        ping()
        if runs.finished_run("predict", CONFIG_ID, manifest.config_id):
            return
        with runs.start_run("predict", manifest.config_id, params, {CONFIG_ID: manifest.config_id}) as run:
            rate = {} if images_per_second is None else {"images_per_second": images_per_second}
            run.log_metrics(0, {**{name: float(count) for name, count in counts(manifest).items()}, **rate})
            run.log_text("manifest.json", manifest.to_json().decode())
            rows = [(entry.source_id, entry.reason) for entry in manifest.quarantine]
            table = pd.DataFrame(rows, columns=["image", "reason"])
            run.log_text("tables/errors.csv", table.to_csv(index=False))
    except DogbreedError as error:
        log.warning("the predictions are complete, but their run in MLflow is not: %s", error)
