"""Crop the photos of a raw archive and commit them as verified TFRecord shards with a manifest."""

import dataclasses
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from dogbreed.core import resources
from dogbreed.core.log import progress
from dogbreed.core.storage import Store, open_store
from dogbreed.data.config import CROPS, OBJECTS, RESAMPLES, RESIZE_MODES, SPLIT_MODES, DatasetConfig
from dogbreed.data.manifest import Manifest
from dogbreed.data.raw import SOURCES
from jobs._cli import field_option, job, no_gc, uri_option

if TYPE_CHECKING:  # --help imports neither TensorFlow nor SciPy
    from dogbreed.data.plan import ShardPlan

log = logging.getLogger(__name__)


@job("preprocess")
@click.option("--source", type=click.Choice(SOURCES), default=SOURCES[0], help="What the raw archive holds.")
@uri_option("--raw", "Where images.tar, annotation.tar and lists.tar are", required=True)
@uri_option("--out", "Where the dataset goes", required=True)
@field_option(DatasetConfig, "size", help="Shorter side of a crop in pixels; nothing is ever enlarged.")
@field_option(DatasetConfig, "crop", CROPS, help="Crop to the box now, never, or later inside tf.data (defer).")
@field_option(DatasetConfig, "margin", help="Added on each side of a box, as a fraction of its width and height.")
@field_option(DatasetConfig, "objects", OBJECTS, help="Which bounding box to use when an image has several.")
@field_option(DatasetConfig, "resample", RESAMPLES, help="Resampling: Lanczos, or OpenCV's area, faster and softer.")
@field_option(DatasetConfig, "resize_mode", RESIZE_MODES, help="Keep a crop's aspect ratio, or squash it to a square.")
@field_option(DatasetConfig, "split", SPLIT_MODES, help="The published test list, or 20 % of each breed.")
@field_option(DatasetConfig, "seed", help="Seed of the splits; validation is 10 % of what is not test.")
@click.option("--keep-duplicates", is_flag=True, help="Keep duplicates of test images in train and validation.")
@click.option("--classes", default="", help="Only these classes, separated by commas; all when empty.")
@click.option("--per-class", type=int, help="At most so many images of a class in train and in test.")
@click.option("--shards", type=int, help="Approximate number of shards.  [default: 512 images each]")
@click.option(
    "--max-quarantined",
    type=click.FloatRange(0, 1),
    default=0.001,
    help="Fraction of unusable images that is tolerated.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the estimated shards, images, size, time and memory; write nothing."
)
@click.option("--gc", is_flag=True, help="Only delete objects of abandoned configurations from a complete dataset.")
@uri_option("--export", "Also write the images as <split>/<class>/<source id>.jpg")
@click.option("--worker-index", type=int, envvar="JOB_COMPLETION_INDEX", help="This worker's fixed share: 0 to N-1.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Number of workers N with a fixed share.")
def main(**options: Any) -> dict[str, Any]:
    """Crop, shard and commit the images of a raw archive. Idempotent."""
    raw, out = open_store(options["raw"]), open_store(options["out"])
    with no_gc():
        _import_tensorflow()
        from dogbreed.data import sharded_work
        from dogbreed.data.export import to_image_folder
        from dogbreed.data.forecast import estimate
        from dogbreed.data.garbage import collect
        from dogbreed.data.plan import plan_dataset
        from dogbreed.data.raw import open_source
        from dogbreed.tracking import dataset_run
        from dogbreed.workflows import preflight

        preflight.before_job(raw, out)
        if options["gc"]:
            return {"out": out.uri, "deleted": len(collect(out))}
        source = open_source(options["source"], raw)
        plan = plan_dataset(source, _dataset_options(options))
    with resources.thread_pool(resources.io_threads(local=raw.local_path("") is not None)) as pool:
        if options["dry_run"]:
            return estimate(plan, pool)
        manifest, rate = sharded_work.load_if_complete(plan, out), None
        if manifest:
            log.info("%s is complete already", out.uri)
        else:
            manifest, rate = _make(plan, out, options, pool)
        if manifest is None:
            log.info("this worker's share is done; other workers' parts are missing, the last one writes the manifest")
            return {"manifest": None, "out": out.uri}
        dataset_run.log_dataset(plan, manifest, out, rate)
        if options["export"]:
            to_image_folder(manifest, out, open_store(options["export"]), pool)
    return {"manifest": out.uri_of("manifest.json"), **manifest.summary()}


def _import_tensorflow() -> None:
    """Import TensorFlow without Keras, which records do without: 2 s of each worker's start."""
    name, before = "TF_USE_LEGACY_KERAS", os.environ.get("TF_USE_LEGACY_KERAS", "0")
    os.environ[name] = "1"  # TensorFlow then imports no Keras before it is used, here never
    import tensorflow  # noqa: F401

    os.environ[name] = before


def _make(
    plan: "ShardPlan", out: Store, options: dict[str, Any], pool: ThreadPoolExecutor
) -> tuple[Manifest | None, float | None]:
    """Make this worker's shards and, when no other is missing, the manifest; also return photos per second."""
    from dogbreed.data import builder
    from dogbreed.data.duplicate_search import find_duplicates
    from dogbreed.data.plan import plan_dataset
    from dogbreed.data.sharded_work import assign_shards

    start_time = time.monotonic()
    index, workers = options["worker_index"], options["workers"]
    assign_shards(plan, index, workers)  # a wrong index ends the job here, before any work
    plan = plan_dataset(plan.source, plan.config, find_duplicates(plan, out, pool, index, workers))
    numbers = assign_shards(plan, index, workers)
    log.info("looking after %d of %d shards at %s", len(numbers), len(plan.shards), out.uri)
    made = builder.write_shards(plan, numbers, out, pool)
    photos = sum(progress(made, "preprocess", len(numbers), unit="shard"))
    rate = photos / (time.monotonic() - start_time) if photos else None
    return builder.finalize(plan, out, options["max_quarantined"]), rate


def _dataset_options(options: dict[str, Any]) -> DatasetConfig:
    names = {field.name for field in dataclasses.fields(DatasetConfig)} - {"classes"}
    classes = tuple(name.strip() for name in options["classes"].split(",") if name.strip())
    return DatasetConfig(classes=classes, **{name: options[name] for name in names})


if __name__ == "__main__":
    main()
