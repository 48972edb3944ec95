"""Crop the photos of a raw archive and commit them as verified TFRecord shards with a manifest."""

import dataclasses
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from dogbreed.data.dataset import Manifest
from dogbreed.data.options import CROPS, OBJECTS, RESAMPLES, SPLIT_MODES, DatasetOptions
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
@default(DatasetOptions, "size", help="Shorter side of a crop in pixels; nothing is ever enlarged.")
@default(DatasetOptions, "crop", CROPS, help="Crop to the box now, never, or later inside tf.data (defer).")
@default(DatasetOptions, "margin", help="Added on each side of a box, as a share of its width and height.")
@default(DatasetOptions, "objects", OBJECTS, help="Which dog of a photo with several.")
@default(DatasetOptions, "resample", RESAMPLES, help="Resampling: Lanczos, or OpenCV's area, faster and softer.")
@click.option("--square", is_flag=True, help="Squash each crop to a square: nothing is left to resize in training.")
@default(DatasetOptions, "split", SPLIT_MODES, help="The published test list, or 20 % of each breed.")
@default(DatasetOptions, "seed", help="Seed of the splits; validation is 10 % of what is not test.")
@click.option("--keep-leaks", is_flag=True, help="Leave copies of published test photos in train and validation.")
@click.option("--breeds", default="", help="Only these breeds, separated by commas; all when empty.")
@click.option("--per-breed", type=int, help="At most so many photos of a breed in train and in test.")
@click.option("--shards", type=int, help="Number of shards in all, about.  [default: 512 photos each]")
@click.option(
    "--max-quarantined", type=click.FloatRange(0, 1), default=0.001, help="Share of unusable photos that is tolerated."
)
@click.option("--plan", is_flag=True, help="Only say what would be done: shards, photos, megabytes, seconds, memory.")
@click.option("--gc", is_flag=True, help="Only delete what abandoned configurations have left in a complete dataset.")
@uri("--export", "Where to write the photos once more, as <split>/<breed>/<key>.jpg")
@click.option("--worker-index", type=int, envvar="JOB_COMPLETION_INDEX", help="This worker's fixed share: 0 to N-1.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Number of workers N with a fixed share.")
def main(**options: Any) -> dict[str, Any]:
    """Crop, shard and commit the photos of a raw archive. Doing it again changes nothing."""
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
        if options["plan"]:
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
    from dogbreed.data.copies import find_copies_once
    from dogbreed.data.parts import share
    from dogbreed.data.plan import make_plan

    began = time.monotonic()
    index, workers = options["worker_index"], options["workers"]
    share(plan, index, workers)  # a wrong index ends the job here, before any work
    plan = make_plan(plan.source, plan.options, find_copies_once(plan, out, pool, index, workers))
    numbers = share(plan, index, workers)
    log.info("looking after %d of %d shards at %s", len(numbers), len(plan.shards), out.uri)
    made = shards.make_shards(plan, numbers, out, pool)
    photos = sum(progress(made, "preprocess", len(numbers), unit="shard"))
    rate = photos / (time.monotonic() - began) if photos else None
    return shards.finish(plan, out, options["max_quarantined"]), rate


def _dataset_options(options: dict[str, Any]) -> DatasetOptions:
    names = {field.name for field in dataclasses.fields(DatasetOptions)} - {"breeds"}
    breeds = tuple(breed.strip() for breed in options["breeds"].split(",") if breed.strip())
    return DatasetOptions(breeds=breeds, **{name: options[name] for name in names})


if __name__ == "__main__":
    main()
