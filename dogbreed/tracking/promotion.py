"""How the champion is chosen: a version becomes it if its top-1 on test is above the champion's 95 % interval."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

import mlflow
from mlflow.exceptions import MlflowException

from dogbreed.core.errors import CorruptData, DataError, UsageError
from dogbreed.tracking import registry, runs
from dogbreed.tracking.mlflow_errors import ABSENT, translate
from dogbreed.tracking.runs import DIGEST, MlflowRun

REASON = "dogbreed.promotion"  # tag of a version and of its evaluation: why it became champion or not
SPLIT = "test"
TOLERANCE = 0.005  # of top-1 when a model is evaluated again: another processor may round differently

log = logging.getLogger(__name__)


class Promotion(TypedDict):
    """Outcome of a promotion, part of the summary of jobs.evaluate --promote."""

    promoted: bool
    champion: int | None  # version
    reason: str


@dataclass(frozen=True)
class EvalScore:
    """Top-1 of a version on the test split with the ends of its 95 % confidence interval, fractions 0-1."""

    version: int
    top1: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.top1:.2%} (95 % CI {self.low:.2%} to {self.high:.2%})"


def check_promotable(model: str, registered_model: str, split: str) -> None:
    """Raise UsageError unless the model is a version of the registered model and the split is test."""
    if not re.match(rf"models:/{re.escape(registered_model)}[/@]", model):
        raise UsageError(
            f"--promote moves the champion of {registered_model} and needs one of its versions, such as "
            f"models:/{registered_model}/7, not {model}; --registered-model NAME names another one"
        )
    if split != SPLIT:
        raise UsageError(f"--promote compares on the test split; leave out --split {split}")


@contextmanager
def record_failure(model: str) -> Iterator[None]:
    """Record the reason when a model cannot be loaded or evaluated, and is not promoted."""
    try:
        yield
    except DataError as error:
        _write_reason(*_version(registry.resolve(model)), None, f"not promoted: {error}")
        raise


def promote(run_id: str, evaluate_again: Callable[[], float], force: bool) -> Promotion:
    """Move the alias `champion` to the version evaluated in run `run_id` if it is better, and record the reason.

    Args:
        evaluate_again: returns the top-1 of a newly downloaded copy on the same images; called before the alias moves.
        force: skip the comparison of scores.

    Raises:
        CorruptData: the new copy cannot be loaded or has another top-1; it is not promoted, not even by force.
    """
    run = runs.get_run(run_id)
    name, challenger = _version(run.data.params["model"])
    present = champion(name)
    if challenger == present:
        return {"promoted": True, "champion": present, "reason": _read_reason(name, challenger)}
    better, reason = _compare(run, present, force)
    if better:
        try:
            _check_reproducible(run, evaluate_again)
        except DataError as error:
            _write_reason(name, challenger, run_id, f"not promoted: {error}")
            raise
        with translate():
            mlflow.MlflowClient().set_registered_model_alias(name, registry.CHAMPION, str(challenger))
        present = challenger
    _write_reason(name, challenger, run_id, reason)
    return {"promoted": better, "champion": present, "reason": reason}


def champion(name: str) -> int | None:
    """Return the version that is champion of a registered model, None if there is none."""
    with translate():
        try:
            return int(mlflow.MlflowClient().get_model_version_by_alias(name, registry.CHAMPION).version)
        except MlflowException as error:
            if error.error_code in ABSENT:
                return None
            raise


def decide(challenger: EvalScore, present: EvalScore) -> tuple[bool, str]:
    """Return whether the challenger's top-1 is above the champion's interval, and the reason in words."""
    compared = f"version {challenger.version} has top-1 {challenger.top1:.2%}, champion {present.version} {present}"
    if challenger.top1 > present.high:
        return True, f"promoted: {compared}"
    if challenger.top1 >= present.low:
        return False, f"not promoted: {compared}: no significant difference"
    return False, f"not promoted: {compared}: worse"


def _compare(run: MlflowRun, present: int | None, force: bool) -> tuple[bool, str]:
    challenger = _score_of(run)
    name, _ = _version(run.data.params["model"])
    if present is None:
        return True, f"promoted: version {challenger.version} has top-1 {challenger}; there was no champion"
    other = _same_evaluation(run, registry.version_uri(name, present))
    if other is not None:
        better, reason = decide(challenger, _score_of(other))
    else:
        reason = (
            f"not promoted: champion {present} has not been evaluated with the same options on dataset "
            f"{run.data.tags[DIGEST][:12]}; run jobs.evaluate --model {registry.version_uri(name, present)} on it first"
        )
        better = False
    if force and not better:
        return True, f"promoted by force, otherwise {reason}"
    return better, reason


def _score_of(run: MlflowRun) -> EvalScore:
    scores = run.data.metrics
    if f"{SPLIT}_top1_ci95_low" not in scores:
        raise DataError("a test split of one image has no confidence interval to compare; preprocess more images")
    top1, low, high = (scores[f"{SPLIT}_top1{end}"] for end in ("", "_ci95_low", "_ci95_high"))
    return EvalScore(_version(run.data.params["model"])[1], top1, low, high)


def _same_evaluation(run: MlflowRun, model: str) -> MlflowRun | None:
    """Return the newest evaluation of another model on the same images, None if there is none with intervals.

    An evaluation of a deleted version that had the same number does not count: its model came from another training.
    """
    name, number = _version(model)
    with translate():
        trained = mlflow.MlflowClient().get_model_version(name, str(number)).run_id
    wanted = {
        f"tags.`{runs.TRAINING_RUN}`": trained,
        f"tags.`{DIGEST}`": run.data.tags[DIGEST],
        f"tags.`{runs.SPLIT}`": SPLIT,
        "params.tta": run.data.params["tta"],
        "params.model": model,
        "attributes.status": "FINISHED",
    }
    with translate():
        found = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=" and ".join(f"{name} = '{value}'" for name, value in wanted.items()),
            output_format="list",
        )
    return next((other for other in found if f"{SPLIT}_top1_ci95_high" in other.data.metrics), None)


def _check_reproducible(run: MlflowRun, evaluate_again: Callable[[], float]) -> None:
    """Raise CorruptData unless a newly downloaded copy of the model has the top-1 of its evaluation."""
    before, now = run.data.metrics[f"{SPLIT}_top1"], evaluate_again()
    if abs(now - before) > TOLERANCE:
        raise CorruptData(
            f"the model of run {run.info.run_id} had top-1 {before:.2%} and has {now:.2%} when it is loaded again; "
            "train it again, or evaluate it with --restart if the new score is right"
        )


def _write_reason(name: str, version: int, run_id: str | None, reason: str) -> None:
    log.info("%s", reason)
    client = mlflow.MlflowClient()
    with translate():
        client.set_model_version_tag(name, str(version), REASON, reason)
        if run_id:
            client.set_tag(run_id, REASON, reason)


def _read_reason(name: str, version: int) -> str:
    with translate():
        found = mlflow.MlflowClient().get_model_version(name, str(version))
    return str(found.tags.get(REASON, "the alias was set by hand"))


def _version(uri: str) -> tuple[str, int]:
    """Return NAME and VERSION of models:/NAME/VERSION; DataError for any other model."""
    version = registry.parse_version(uri)
    if version is None:
        raise DataError(f"{uri} is not a registered version; register the model with jobs.train")
    return version
