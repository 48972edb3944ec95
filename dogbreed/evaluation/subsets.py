"""Scores of subsets of a split: images that a pretraining may have seen, images with a duplicate in another split."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dogbreed.core.errors import DataError
from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import metrics
from dogbreed.evaluation.predictions import Predictions
from dogbreed.evaluation.score_groups import ScoreGroup, Scores

IMAGE_NAME = re.compile(r"n\d{8}_\d+")
CLASS_NAME = re.compile(r"^(n\d{8})(?:-.*)?$", re.MULTILINE)

Mask = npt.NDArray[np.bool_]


def score_subsets(
    predictions: Predictions,
    manifest: Manifest,
    pretraining_list: frozenset[str],
    duplicates: Sequence[DuplicateGroup] = (),
) -> dict[ScoreGroup, Scores]:
    """Return the scores of each subset; one without images has `images` only.

    With a pretraining list: seen and unseen. If images of the split may have duplicates in other splits, because the
    dataset keeps all or divides groups: with_duplicate and without_duplicate.
    """
    masks: dict[ScoreGroup, Mask] = {}
    if pretraining_list:
        seen = np.array([is_seen(source_id, pretraining_list) for source_id in predictions.source_ids])
        masks |= {ScoreGroup.SEEN: seen, ScoreGroup.UNSEEN: ~seen}
    keeps_all = manifest.config.get("duplicates") == "keep"
    if leaking := [group for group in duplicates if keeps_all or group.divided]:
        duplicated = _has_duplicate(predictions, leaking)
        masks |= {ScoreGroup.WITH_DUPLICATE: duplicated, ScoreGroup.WITHOUT_DUPLICATE: ~duplicated}
    return {name: _score_subset(predictions, mask) for name, mask in masks.items()}


def _has_duplicate(predictions: Predictions, groups: Sequence[DuplicateGroup]) -> Mask:
    """Return whether each image has a duplicate outside its split, bool [n]; all images of a divided group have."""
    files = [source_id.partition("#")[0] for source_id in predictions.source_ids]
    inside = set(files)
    leaking = [group for group in groups if group.divided or not inside.issuperset(group.source_ids)]
    duplicated = {source_id for group in leaking for source_id in group.source_ids}
    return np.array([file in duplicated for file in files])


def _score_subset(predictions: Predictions, mask: Mask) -> Scores:
    if not mask.any():
        return {"images": 0.0}
    scores = metrics.compute_metrics(predictions.labels[mask], predictions.probabilities[mask])
    return {"images": float(mask.sum()), **scores}


def parse_image_list(listing: bytes) -> frozenset[str]:
    """Return the names in a list: images, as n02085620_7, and whole classes, as n02085620 on a line of their own.

    ILSVRC's train_cls.txt is such a list, and so is any text with such names.

    Raises:
        DataError: the list has no such name.
    """
    text = listing.decode("ascii", "replace").replace("\r", "")
    names = frozenset(IMAGE_NAME.findall(text)) | frozenset(CLASS_NAME.findall(text))
    if not names:
        raise DataError("the list names no image as n02085620_7; give ILSVRC's train_cls.txt or one like it")
    return names


def is_seen(source_id: str, names: frozenset[str]) -> bool:
    """Return whether the image of an example, with or without a suffix, or its whole class, is among the names."""
    name = re.split(r"[.#]", source_id.rpartition("/")[2])[0]  # without .jpg and without #1, the number of a box
    return name in names or name.partition("_")[0] in names
