"""The datasets of an evaluation: whether one has the classes of the model, and the other one of --compare-with."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from dogbreed.core.errors import DataError, shorten_list
from dogbreed.core.storage import Store, open_store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import Manifest, load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.evaluation.result import OtherCrop
from dogbreed.serving.model_files import ModelMetadata

WHOLE = "whole"  # --compare-with: the whole images of a dataset that was made with --crop defer

log = logging.getLogger(__name__)


def check_classes_match(metadata: ModelMetadata, manifest: Manifest) -> None:
    """Raise DataError if model and dataset have different classes; log a warning if the dataset is another one."""
    if metadata.classes != manifest.classes:
        raise DataError(
            f"the classes of the model ({len(metadata.classes)}) and of the dataset ({len(manifest.classes)}) differ: "
            f"{describe_difference(metadata.classes, 'the model', manifest.classes, 'the dataset')}; evaluate on a "
            "dataset with the model's classes (jobs.preprocess --classes), or train on this one"
        )
    if metadata.dataset_digest != manifest.digest:
        log.warning(
            "the model was trained on dataset %s, this is %s: its splits may differ",
            metadata.dataset_digest[:12],
            manifest.digest[:12],
        )


def describe_difference(classes: Sequence[str], name: str, others: Sequence[str], other_name: str) -> str:
    """Return how two lists of classes differ: how many are in one only, and the names of up to five of these."""
    parts = [
        f"{len(rest)} only in {where} ({shorten_list(rest)})"
        for where, own, all_others in ((name, classes, others), (other_name, others, classes))
        if (rest := [label for label in own if label not in set(all_others)])
    ]
    return " and ".join(parts) or "the same names in another order"


def open_comparison(
    uri: str | None, manifest: Manifest, store: Store, view: ResizeSpec, batch_size: int, cache: Path
) -> OtherCrop | None:
    """Return the dataset of --compare-with; DataError if it has other classes or there are no whole images."""
    if uri is None:
        return None
    if uri == WHOLE:
        if manifest.config["crop"] != "defer":
            raise DataError(
                "the dataset holds crops, not whole images; give --compare-with a dataset made with --crop none, "
                "or evaluate on one made with --crop defer"
            )
        whole = dataclasses.replace(manifest, config={**manifest.config, "crop": "none"})
        return OtherCrop("whole images", InputPipeline(whole, store, view, batch_size, cache))
    other_store = open_store(uri)
    other = load_manifest(other_store)
    if other.classes != manifest.classes:
        difference = describe_difference(other.classes, "it", manifest.classes, "--data")
        raise DataError(
            f"--compare-with {uri} has other classes than --data: {difference}; preprocess both with the same classes"
        )
    return OtherCrop(uri, InputPipeline(other, other_store, view, batch_size, cache))
