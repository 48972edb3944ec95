"""Batch prediction: one row for each image below a prefix, written by the same protocol as datasets."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any, TypedDict

import keras
import pandas as pd
import tensorflow as tf

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import DataError, DogbreedError, NotFound, shorten_list
from dogbreed.core.storage import ObjectInfo, Store
from dogbreed.core.text import pluralize
from dogbreed.data import images
from dogbreed.data.images import Pixels
from dogbreed.data.manifest import MANIFEST, Manifest, QuarantinedImage, Split
from dogbreed.data.raw.census import Ignored, find_images, no_image
from dogbreed.data.sharded_work import (
    PlannedShard,
    ShardOutput,
    WorkPlan,
    load_results,
    merge_results,
    process_shards,
)
from dogbreed.serving import classifier, model_files
from dogbreed.serving.model_files import ModelMetadata
from dogbreed.serving.row_writers import WRITERS
from dogbreed.tracking import runs
from dogbreed.tracking.ignored_files import log_ignored
from dogbreed.tracking.mlflow_errors import ping
from dogbreed.tracking.runs import CONFIG_ID
from dogbreed.training.out_of_memory import translating_out_of_memory

FORMAT = "predictions 3"  # raised by hand whenever the same options give other bytes
IMAGES_PER_SHARD = 256  # 39 MB of 224 px squares; two shards are in memory at most
SPLIT = "images"  # the only split

Prepared = tuple[str, Pixels | str]  # SHA-256 of an encoded image, and the model's input or why there is none

log = logging.getLogger(__name__)


class RowCounts(TypedDict):
    """The number of rows, and of those that hold an error."""

    rows: int
    errors: int


@dataclass(frozen=True)
class BatchPredictPlan(WorkPlan[str]):
    """Rows of these images (by key), from this model, in files of this kind."""

    images: Store = field(repr=False)
    model: keras.Model = field(repr=False)
    metadata: ModelMetadata
    kind: str  # parquet, csv or jsonl
    ignored: Ignored = field(default_factory=Ignored, repr=False)  # files that are not images


def list_images(images: Store, only: str | None, ignored: Ignored) -> tuple[ObjectInfo, ...]:
    """Return key, size and version of each image below a prefix, in order; other files are added to `ignored`.

    only: the key of the one image that is wanted; None: all.

    Raises:
        NotFound: there is no image.
    """
    if only:
        info = images.info(only)
        return (info,) if info else ()
    if problem := images.prefix_problem():
        raise NotFound(f"{problem}; check --images")
    found = find_images(images, ignored)
    if not found:
        raise NotFound(no_image(images, ignored, "--images"))
    return tuple(found)


def plan_predictions(
    images: Store, folder: Path, kind: str, shards: int | None, only: str | None = None
) -> BatchPredictPlan:
    """Return the plan for the images of a prefix and the downloaded model in `folder`.

    Args:
        shards: approximate number of row files; None: IMAGES_PER_SHARD images each.
        only: the key of the one image that is wanted; None: all.
    """
    model, metadata = model_files.load(folder)
    ignored = Ignored()
    listing = list_images(images, only, ignored)
    length = ceil(len(listing) / shards) if shards else IMAGES_PER_SHARD
    plan = plan_rows(images, listing, model, metadata, model_files.fingerprint(folder), kind, length)
    return replace(plan, ignored=ignored)


def plan_rows(
    images: Store,
    listing: tuple[ObjectInfo, ...],
    model: keras.Model,
    metadata: ModelMetadata,
    model_sha256: str,
    kind: str,
    images_per_shard: int,
) -> BatchPredictPlan:
    """Return the plan for the listed images.

    The source digest covers key, size and version of each, which need no reading; a row holds the SHA-256 of what was
    read.
    """
    keys = [info.key for info in listing]
    empty_manifest = Manifest(
        format=FORMAT,
        name=metadata.dataset_name,
        config={"model_sha256": model_sha256, "format": kind, "images_per_shard": images_per_shard},
        source_digest=canonical_json.digest(listing),
        versions=_versions(),
        classes=metadata.classes,
        splits={SPLIT: Split(0, ())},
        quarantine=(),
        excluded={},
        duplicates=None,
    )
    starts = range(0, len(keys), images_per_shard)
    shards = tuple(PlannedShard(SPLIT, keys[start : start + images_per_shard]) for start in starts)
    return BatchPredictPlan(shards, empty_manifest, images, model, metadata, kind)


def write_rows(plan: BatchPredictPlan, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor) -> Iterator[int]:
    """Predict and write the rows of these shards; an image that cannot be used has a row with the reason.

    Yields for each shard how many images were read: 0 for one that was complete already.
    """

    def prepare(key: str) -> Prepared:
        data = plan.images.read(key)
        return sha256_hex(data), classifier.preprocess(data, plan.metadata.view)

    def start(shard: PlannedShard[str]) -> Iterator[Prepared]:
        return pool.map(prepare, shard.images)

    def finish(shard: PlannedShard[str], prepared: Iterator[Prepared]) -> ShardOutput:
        hashes, inputs = zip(*prepared, strict=True)
        with translating_out_of_memory(classifier.BATCH, "use the CPU with an empty CUDA_VISIBLE_DEVICES"):
            predicted = classifier.predict_rows(plan.model, plan.metadata, list(inputs))
        rows = [
            {"image": key, "sha256": sha256, **row}
            for key, sha256, row in zip(shard.images, hashes, predicted, strict=True)
        ]
        errors = tuple(QuarantinedImage(row["image"], row["error"]) for row in rows if row["error"])
        return ShardOutput(WRITERS[plan.kind](rows), len(rows), len(rows) - len(errors), errors)

    return process_shards(plan, numbers, out, start, finish, plan.kind)


def finalize(plan: BatchPredictPlan, out: Store) -> Manifest | None:
    """Write the manifest and return it, None while results of other workers are missing."""
    results = load_results(plan, out)
    if results is None:
        return None
    manifest = merge_results(plan, results)
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _versions() -> dict[str, str]:
    return {**images.versions(), **{name: version(name) for name in ("keras", "pyarrow")}, "tensorflow": tf.__version__}


def counts(manifest: Manifest) -> RowCounts:
    """Return how many rows the predictions have."""
    return {"rows": manifest.splits[SPLIT].num_examples, "errors": len(manifest.quarantine)}


def check_errors(manifest: Manifest, out: str) -> None:
    """Log a warning that names images without a prediction; DataError if no image has one."""
    errors, total = manifest.quarantine, manifest.splits[SPLIT].num_examples
    if not errors:
        return
    shown = shorten_list([f"{entry.source_id}: {entry.reason}" for entry in errors])
    if len(errors) == total:
        raise DataError(
            f"no prediction of {pluralize(total, 'image')} ({shown}); the rows at {out} have the reasons; "
            "check --images"
        )
    log.warning("images without a prediction: %d of %d (%s); the rows have the reasons", len(errors), total, shown)


def log_predictions(
    prefix: str, manifest: Manifest, ignored: Ignored, params: dict[str, Any], images_per_second: float | None
) -> None:
    """Write the MLflow run of complete predictions unless there is one; log a warning if MLflow is unavailable.

    Args:
        prefix: of the experiment.
        images_per_second: of this worker; None if it read no image.
    """
    try:
        ping()
        if runs.finished_run(prefix, "predict", CONFIG_ID, manifest.config_id):
            return
        with runs.start_run(prefix, "predict", manifest.config_id, params, {CONFIG_ID: manifest.config_id}) as run:
            rate = {} if images_per_second is None else {"images_per_second": images_per_second}
            total = counts(manifest)
            run.log_metrics(0, {"rows": float(total["rows"]), "errors": float(total["errors"]), **rate})
            run.log_text("manifest.json", manifest.to_json().decode())
            rows = [(entry.source_id, entry.reason) for entry in manifest.quarantine]
            table = pd.DataFrame(rows, columns=["image", "reason"])
            run.log_text("tables/errors.csv", table.to_csv(index=False))
            log_ignored(run, ignored)
    except DogbreedError as error:
        log.warning("the predictions are complete, but their run in MLflow is not: %s", error)
