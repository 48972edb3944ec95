"""The names of all metrics that an evaluation can leave, whatever it was asked to compare with."""

import dataclasses

import numpy as np

from dogbreed.data.dataset import DuplicatePair, Manifest
from dogbreed.review import answers, calibration, findings, intervals, metrics
from dogbreed.review.answers import Answers
from dogbreed.review.findings import Findings
from dogbreed.review.leaderboard import command
from dogbreed.review.tracking import flat
from dogbreed.training.recipes import recipe_for_weights
from tests.golden.literals import assert_json, assert_text, read_literal

KEYS = tuple(f"n02085620-Chihuahua/n02085620_{number}" for number in range(4))
PROBABILITIES = np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.125, 0.875]], np.float32)
ANSWERS = Answers(
    ("n02085620-Chihuahua", "n02110958-pug"),
    np.array([0, 1, 1, 1]),
    PROBABILITIES,
    KEYS,
    np.zeros((4, 4), np.float32),
    np.ones((4, 2), np.int64),
)


def test_metrics_of_an_evaluation() -> None:
    manifest = Manifest.from_json(read_literal("manifest.json"))
    copies = (DuplicatePair(KEYS[0], "n02110958-pug/n02110958_3", "near"),)
    leaky = dataclasses.replace(manifest, duplicates=copies, config={**manifest.config, "keep_duplicates": True})
    scores = metrics.scores(ANSWERS.labels, ANSWERS.probabilities)
    found = Findings(
        answers=ANSWERS,
        scores=scores,
        intervals=intervals.of_scores(ANSWERS.labels, ANSWERS.probabilities),
        reliability=calibration.reliability(ANSWERS.confidence, ANSWERS.hits),
        floors={"majority_baseline": answers.majority(ANSWERS.labels, 2), "imagenet_zero_shot": scores},
        parts=findings.parts(ANSWERS, leaky, frozenset({"n02085620_1"})),
        against=findings.compare(ANSWERS, ANSWERS, "whole photos"),
        images_per_second=1.0,
    )
    assert_json("evaluation-metrics.json", sorted(name for name, _ in found.flat()))


def test_command_of_a_leaderboard_row() -> None:
    recipe = dataclasses.replace(recipe_for_weights("simple-64", "s3://w/a b.h5"), epochs=3)
    params = {name: str(value) for name, value in flat(recipe.to_dict()).items()}
    assert_text("leaderboard-command.txt", command({**params, "seed": "1", "policy": "float32"}) + "\n")
