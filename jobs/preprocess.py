"""Crop the images of a raw archive and write them as verified TFRecord shards with a manifest."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import click

from dogbreed.core.errors import UsageError
from dogbreed.core.names import suggest_name
from dogbreed.core.resources import no_gc
from dogbreed.core.storage import Store, open_store
from dogbreed.data.config import (
    CROPS,
    DATASET_NAMES,
    DUPLICATES,
    OBJECTS,
    RESAMPLES,
    RESIZE_MODES,
    SPLIT_MODES,
    DatasetConfig,
)
from dogbreed.data.raw import SOURCES
from dogbreed.data.raw.labels import LabelsOption
from dogbreed.workflows.sharded_build import Worker
from jobs._cli import (
    field_option,
    job,
    max_ignored_option,
    name_option,
    uri_option,
    worker_index_option,
    workers_option,
)


@job("preprocess")
@click.option("--source", type=click.Choice(SOURCES), default=SOURCES[0], help="What the raw archive holds.")
@uri_option("--raw", "Where images.tar, annotation.tar and lists.tar are", required=True)
@click.option(
    "--labels",
    metavar="FILE",
    help="CSV or JSON lines that name the class of each image: a name below --raw, or a URI (image-folder only).",
)
@click.option(
    "--label-columns",
    metavar="FILE,LABEL[,SPLIT]",
    help="Columns of --labels.  [default: found by their usual names]",
)
@uri_option("--out", "Where the dataset is written", required=True)
@name_option(
    "--name",
    "Name of the dataset, and of the experiments and the registered model of later jobs.  "
    "[default: dogbreed, cifar10 or cifar100 as the source is; required for image-folder]",
)
@name_option("--experiment-prefix", "MLflow's experiment is NAME/preprocess.  [default: --name]")
@field_option(DatasetConfig, "size", help="Shorter side of a crop in pixels; images are never enlarged.")
@field_option(DatasetConfig, "crop", CROPS, help="Crop to the box now, never, or later inside tf.data (defer).")
@field_option(DatasetConfig, "margin", help="Added on each side of a box, as a fraction of its width and height.")
@field_option(DatasetConfig, "objects", OBJECTS, help="Which bounding box to use when an image has several.")
@field_option(DatasetConfig, "resample", RESAMPLES, help="Resampling: Lanczos, or OpenCV's area (faster, softer).")
@field_option(DatasetConfig, "resize_mode", RESIZE_MODES, help="Keep a crop's aspect ratio, or squash it to a square.")
@field_option(DatasetConfig, "split", SPLIT_MODES, help="The published test list, or 20 % of each class.")
@field_option(DatasetConfig, "seed", help="Seed of the splits; validation is 10 % of what is not test.")
@field_option(DatasetConfig, "duplicates", DUPLICATES, help="Exclude those of test images, keep all, drop all but one.")
@click.option("--classes", default="", help="Only these classes, separated by commas; all when empty.")
@click.option("--per-class", type=int, help="At most this many images per class in train and in test.")
@click.option("--shards", type=int, help="Approximate number of shards.  [default: 512 images each]")
@click.option(
    "--max-quarantined",
    type=click.FloatRange(0, 1),
    default=0.001,
    help="Highest accepted fraction of unusable images.",
)
@max_ignored_option
@click.option(
    "--dry-run", is_flag=True, help="Print the estimated shards, images, size, time and memory; write nothing."
)
@click.option("--gc", is_flag=True, help="Only delete objects of abandoned configurations from a complete dataset.")
@uri_option("--export", "Also write the images as <split>/<class>/<source id>.jpg")
@worker_index_option
@workers_option
def main(**options: Any) -> Mapping[str, Any]:
    """Crop, shard and commit the images of a raw archive. Idempotent."""
    raw, out = open_store(options["raw"]), open_store(options["out"])
    with no_gc():
        _import_tensorflow()
        from dogbreed.workflows import preprocess
    if options["gc"]:
        return preprocess.collect_garbage(out)
    config = _dataset_config(options, raw)
    asked = preprocess.PreprocessJob(
        source=options["source"],
        raw=raw,
        out=out,
        experiment_prefix=options["experiment_prefix"] or config.name,
        config=config,
        labels=_labels_option(options["labels"], options["label_columns"]),
        max_quarantined=options["max_quarantined"],
        max_ignored=options["max_ignored"],
        worker=Worker(options["worker_index"], options["workers"]),
        export=open_store(options["export"]) if options["export"] else None,
    )
    return preprocess.dry_run(asked) if options["dry_run"] else preprocess.preprocess(asked)


def _import_tensorflow() -> None:
    """Import TensorFlow without Keras, which TFRecord files do not need: 2 s of each worker's start."""
    name, before = "TF_USE_LEGACY_KERAS", os.environ.get("TF_USE_LEGACY_KERAS", "0")
    os.environ[name] = "1"  # TensorFlow then imports no Keras before it is used, here never
    import tensorflow  # noqa: F401

    os.environ[name] = before


def _labels_option(file: str | None, columns: str | None) -> LabelsOption | None:
    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    if columns and (file is None or len(names) not in (2, 3)):
        raise UsageError("--label-columns needs --labels and two or three names, FILE,LABEL or FILE,LABEL,SPLIT")
    return LabelsOption(file, names) if file else None


def _dataset_config(options: dict[str, Any], raw: Store) -> DatasetConfig:
    names = {field.name for field in dataclasses.fields(DatasetConfig)} - {"classes", "name"}
    classes = tuple(name.strip() for name in options["classes"].split(",") if name.strip())
    return DatasetConfig(name=_dataset_name(options, raw), classes=classes, **{name: options[name] for name in names})


def _dataset_name(options: dict[str, Any], raw: Store) -> str:
    source = options["source"]
    if options["name"] is None and source not in DATASET_NAMES:
        suggestion = suggest_name(raw.uri.rstrip("/").rpartition("/")[2])
        raise UsageError(f"--source {source} needs a name for the dataset, for example --name {suggestion}")
    return options["name"] or DATASET_NAMES[source]


if __name__ == "__main__":
    main()
