"""Scores of subsets of a split: images that a pretraining may have seen, images with a duplicate in another split."""

import numpy as np
import numpy.typing as npt

from dogbreed.data.manifest import Manifest
from dogbreed.data.near_duplicates import parse_image_list as parse_image_list
from dogbreed.data.near_duplicates import was_seen
from dogbreed.evaluation import metrics
from dogbreed.evaluation.predictions import Predictions
from dogbreed.evaluation.score_groups import ScoreGroup, Scores

Mask = npt.NDArray[np.bool_]


def score_subsets(
    predictions: Predictions, manifest: Manifest, pretraining_list: frozenset[str]
) -> dict[ScoreGroup, Scores]:
    """Return the scores of each subset; one without images has `images` only.

    With a pretraining list: seen and unseen. If the dataset keeps duplicates of test images in its other splits:
    with_duplicate and without_duplicate.
    """
    masks: dict[ScoreGroup, Mask] = {}
    if pretraining_list:
        seen = np.array([was_seen(source_id, pretraining_list) for source_id in predictions.source_ids])
        masks |= {ScoreGroup.SEEN: seen, ScoreGroup.UNSEEN: ~seen}
    if manifest.config.get("keep_duplicates"):
        duplicated = _has_duplicate(predictions, manifest)
        masks |= {ScoreGroup.WITH_DUPLICATE: duplicated, ScoreGroup.WITHOUT_DUPLICATE: ~duplicated}
    return {name: _score_subset(predictions, mask) for name, mask in masks.items()}


def _has_duplicate(predictions: Predictions, manifest: Manifest) -> Mask:
    """Return whether each image has a duplicate outside its split, bool [n]."""
    files = [source_id.partition("#")[0] for source_id in predictions.source_ids]
    inside = set(files)
    pairs = [(pair.source_id, pair.other) for pair in manifest.duplicates]
    duplicated = {file for pair in pairs for file, other in (pair, pair[::-1]) if other not in inside}
    return np.array([file in duplicated for file in files])


def _score_subset(predictions: Predictions, mask: Mask) -> Scores:
    if not mask.any():
        return {"images": 0.0}
    scores = metrics.compute_metrics(predictions.labels[mask], predictions.probabilities[mask])
    return {"images": float(mask.sum()), **scores}
