"""Crop the photos of a raw archive and commit them as verified TFRecord shards with a manifest."""

import dataclasses
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from dogbreed.data.dataset import Manifest
from dogbreed.data.options import CROPS, OBJECTS, RESAMPLES, RESIZE_MODES, SPLIT_MODES, DatasetConfig
from dogbreed.data.sources import NAMES
from dogbreed.platform import machine
from dogbreed.platform.log import progress
from dogbreed.platform.storage import Store, open_store
from jobs._cli import default, gc_paused, job, uri

if TYPE_CHECKING:  # --help imports neither TensorFlow nor SciPy
    from dogbreed.data.plan import Plan

log = logging.getLogger(__name__)


@job("preprocess")
@click.option("--source", type=click.Choice(NAMES), default=NAMES[0], help="What the raw archive holds.")
@uri("--raw", "Where images.tar, annotation.tar and lists.tar are", required=True)
@uri("--out", "Where the dataset goes", required=True)
@default(DatasetConfig, "size", help="Shorter side of a crop in pixels; nothing is ever enlarged.")
@default(DatasetConfig, "crop", CROPS, help="Crop to the box now, never, or later inside tf.data (defer).")
@default(DatasetConfig, "margin", help="Added on each side of a box, as a fraction of its width and height.")
@default(DatasetConfig, "objects", OBJECTS, help="Which bounding box to use when an image has several.")
@default(DatasetConfig, "resample", RESAMPLES, help="Resampling: Lanczos, or OpenCV's area, faster and softer.")
@default(DatasetConfig, "resize_mode", RESIZE_MODES, help="Keep a crop's aspect ratio, or squash it to a square.")
@default(DatasetConfig, "split", SPLIT_MODES, help="The published test list, or 20 % of each breed.")
@default(DatasetConfig, "seed", help="Seed of the splits; validation is 10 % of what is not test.")
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
@uri("--export", "Also write the images as <split>/<class>/<source id>.jpg")
@click.option("--worker-index", type=int, envvar="JOB_COMPLETION_INDEX", help="This worker's fixed share: 0 to N-1.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Number of workers N with a fixed share.")
def main(**options: Any) -> dict[str, Any]:
    """Crop, shard and commit the images of a raw archive. Idempotent."""
    raw, out = open_store(options["raw"]), open_store(options["out"])
    with gc_paused():
        _import_tensorflow()
        from dogbreed.data import parts
        from dogbreed.data.export import export_folders
        from dogbreed.data.forecast import forecast
        from dogbreed.data.garbage import collect
        from dogbreed.data.plan import make_plan
        from dogbreed.data.sources import open_source
        from dogbreed.review import datasets, preflight

        preflight.before_job(raw, out)
        if options["gc"]:
            return {"out": out.uri, "deleted": len(collect(out))}
        source = open_source(options["source"], raw)
        plan = make_plan(source, _dataset_options(options))
    with machine.worker_pool(machine.readers(local=raw.local_path("") is not None)) as pool:
        if options["dry_run"]:
            return forecast(plan, pool)
        manifest, rate = parts.committed(plan, out), None
        if manifest:
            log.info("%s is complete already", out.uri)
        else:
            manifest, rate = _make(plan, out, options, pool)
        if manifest is None:
            log.info("this worker's share is done; other workers' parts are missing, the last one writes the manifest")
            return {"manifest": None, "out": out.uri}
        datasets.log_dataset(plan, manifest, out, rate)
        if options["export"]:
            export_folders(manifest, out, open_store(options["export"]), pool)
    return {"manifest": out.at("manifest.json"), **manifest.summary()}


def _import_tensorflow() -> None:
    """Import TensorFlow without Keras, which records do without: 2 s of each worker's start."""
    name, before = "TF_USE_LEGACY_KERAS", os.environ.get("TF_USE_LEGACY_KERAS", "0")
    os.environ[name] = "1"  # TensorFlow then imports no Keras before it is used, here never
    import tensorflow  # noqa: F401

    os.environ[name] = before


def _make(
    plan: "Plan", out: Store, options: dict[str, Any], pool: ThreadPoolExecutor
) -> tuple[Manifest | None, float | None]:
    """Make this worker's shards and, when no other is missing, the manifest; also return photos per second."""
    from dogbreed.data import shards
    from dogbreed.data.copies import find_duplicates
    from dogbreed.data.parts import share
    from dogbreed.data.plan import make_plan

    began = time.monotonic()
    index, workers = options["worker_index"], options["workers"]
    share(plan, index, workers)  # a wrong index ends the job here, before any work
    plan = make_plan(plan.source, plan.config, find_duplicates(plan, out, pool, index, workers))
    numbers = share(plan, index, workers)
    log.info("looking after %d of %d shards at %s", len(numbers), len(plan.shards), out.uri)
    made = shards.make_shards(plan, numbers, out, pool)
    photos = sum(progress(made, "preprocess", len(numbers), unit="shard"))
    rate = photos / (time.monotonic() - began) if photos else None
    return shards.finish(plan, out, options["max_quarantined"]), rate


def _dataset_options(options: dict[str, Any]) -> DatasetConfig:
    names = {field.name for field in dataclasses.fields(DatasetConfig)} - {"classes"}
    classes = tuple(name.strip() for name in options["classes"].split(",") if name.strip())
    return DatasetConfig(classes=classes, **{name: options[name] for name in names})


if __name__ == "__main__":
    main()
