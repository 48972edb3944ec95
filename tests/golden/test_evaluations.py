"""The names of all metrics that an evaluation can log."""

import dataclasses

import numpy as np

from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import calibration, intervals, metrics, result
from dogbreed.evaluation.baselines import majority_baseline
from dogbreed.evaluation.predictions import Predictions
from dogbreed.evaluation.result import EvalResult
from dogbreed.evaluation.score_groups import ScoreGroup
from dogbreed.evaluation.subsets import score_subsets
from dogbreed.tracking.leaderboard import reproduce_command
from dogbreed.tracking.runs import flatten_params
from dogbreed.training.recipes import recipe_for_weights
from tests.support.duplicates import near
from tests.support.golden.literals import assert_json, assert_text, read_literal

KEYS = tuple(f"n02085620-Chihuahua/n02085620_{number}" for number in range(4))
PROBABILITIES = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.125, 0.875]], np.float32)
PREDICTIONS = Predictions(
    ("n02085620-Chihuahua", "n02110958-pug"),
    np.array([0, 1, 1, 1]),
    PROBABILITIES,
    KEYS,
    np.zeros((4, 4), np.float32),
    np.ones((4, 2), np.int64),
)


def test_metrics_of_an_evaluation() -> None:
    manifest = Manifest.from_json(read_literal("manifest.json"))
    copies = (near(KEYS[0], "n02110958-pug/n02110958_3"),)
    leaky = dataclasses.replace(manifest, config={**manifest.config, "duplicates": "keep"})
    scores = metrics.compute_metrics(PREDICTIONS.labels, PREDICTIONS.probabilities)
    found = EvalResult(
        predictions=PREDICTIONS,
        scores=scores,
        intervals=intervals.bootstrap_scores(PREDICTIONS.labels, PREDICTIONS.probabilities),
        reliability=calibration.reliability_table(PREDICTIONS.confidence, PREDICTIONS.correct),
        baselines={
            ScoreGroup.MAJORITY_BASELINE: majority_baseline(PREDICTIONS.labels, 2),
            ScoreGroup.IMAGENET_ZERO_SHOT: scores,
        },
        subsets=score_subsets(PREDICTIONS, leaky, frozenset({"n02085620_1"}), copies),
        comparison=result.compare_crops(PREDICTIONS, PREDICTIONS, "whole images"),
        images_per_second=1.0,
    )
    assert_json("evaluation-metrics.json", sorted(name for name, _ in found.to_metrics()))


def test_command_of_a_leaderboard_row() -> None:
    recipe = dataclasses.replace(recipe_for_weights("simple-64", "s3://w/a b.h5"), epochs=3)
    params = {name: str(value) for name, value in flatten_params(recipe.to_dict()).items()}
    assert_text("leaderboard-command.txt", reproduce_command({**params, "seed": "1", "policy": "float32"}) + "\n")
