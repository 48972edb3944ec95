"""The champion: a registered version takes its place when it is surely better on the same test photos."""

import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from dogbreed.core.errors import CorruptData, DataError, UsageError
from dogbreed.core.storage import Store
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.evaluation import metrics
from dogbreed.evaluation.predict import predict
from dogbreed.serving import classifier
from dogbreed.tracking import runs
from dogbreed.tracking.mlflow_errors import ABSENT, translate
from dogbreed.tracking.runs import DIGEST, MODEL

ALIAS = "champion"
REASON = "dogbreed.promotion"  # tag of a version and of its evaluation: why it became champion, or did not
SPLIT = "test"
RELOADED = 0.005  # how far top-1 may be off when a model is evaluated again: another processor rounds otherwise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvalScore:
    """How a version did on the test split: top-1 and the ends of its 95 % interval, fractions 0-1."""

    version: int
    top1: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.top1:.2%} (95 % interval {self.low:.2%} to {self.high:.2%})"


def check_asked(model: str, split: str) -> None:
    """Raise UsageError unless a registered version on the test split is what is to be promoted."""
    if not re.match(rf"models:/{MODEL}[/@]", model):
        raise UsageError(f"--promote needs a registered version such as models:/{MODEL}/7, not {model}")
    if split != SPLIT:
        raise UsageError(f"--promote compares on the test split; leave out --split {split}")


@contextmanager
def damage_recorded(model: str) -> Iterator[None]:
    """Record why a model that cannot be loaded or evaluated was not promoted."""
    try:
        yield
    except DataError as error:
        _write_reason(_number(runs.resolve(model)), None, f"not promoted: {error}")
        raise


def promote(run_id: str, top1_again: Callable[[], float], force: bool) -> dict[str, object]:
    """Let the version that the run `run_id` has evaluated become champion if it is better, and record why or why not.

    top1_again: evaluates a freshly downloaded copy on the same photos; it is called before the alias moves.
    force: champion whatever the scores are, but not when it is damaged: then CorruptData.
    """
    run = runs.get_run(run_id)
    challenger, present = _number(run.data.params["model"]), champion()
    if challenger == present:
        return {"promoted": True, "champion": present, "reason": _recorded(challenger)}
    better, reason = _compare(run, present, force)
    if better:
        try:
            _check_again(run, top1_again)
        except DataError as error:
            _write_reason(challenger, run_id, f"not promoted: {error}")
            raise
        with translate():
            mlflow.MlflowClient().set_registered_model_alias(MODEL, ALIAS, str(challenger))
        present = challenger
    _write_reason(challenger, run_id, reason)
    return {"promoted": better, "champion": present, "reason": reason}


def champion() -> int | None:
    """Return the version that is champion, None where there is none."""
    with translate():
        try:
            return int(mlflow.MlflowClient().get_model_version_by_alias(MODEL, ALIAS).version)
        except MlflowException as error:
            if error.error_code in ABSENT:
                return None
            raise


def decide(challenger: EvalScore, present: EvalScore) -> tuple[bool, str]:
    """Return whether the challenger is better by more than the interval, and why or why not."""
    compared = f"version {challenger.version} has top-1 {challenger.top1:.2%}, champion {present.version} {present}"
    if challenger.top1 > present.high:
        return True, f"promoted: {compared}"
    if challenger.top1 >= present.low:
        return False, f"not promoted: {compared}: no sure difference"
    return False, f"not promoted: {compared}: worse"


def _compare(run: mlflow.entities.Run, present: int | None, force: bool) -> tuple[bool, str]:
    challenger = _score_of(run)
    if present is None:
        return True, f"promoted: version {challenger.version} has top-1 {challenger}; there was no champion"
    other = _same_evaluation(run, present)
    if other is not None:
        better, reason = decide(challenger, _score_of(other))
    else:
        again = f"jobs.evaluate --model models:/{MODEL}/{present}"
        where = f"on dataset {run.data.tags[DIGEST][:12]}"
        reason = f"not promoted: champion {present} has not been evaluated like this {where}; run {again} on it first"
        better = False
    if force and not better:
        return True, f"promoted by force, otherwise {reason}"
    return better, reason


def _score_of(run: mlflow.entities.Run) -> EvalScore:
    scores = run.data.metrics
    top1, low, high = (scores[f"{SPLIT}_top1{end}"] for end in ("", "_ci95_low", "_ci95_high"))
    return EvalScore(_number(run.data.params["model"]), top1, low, high)


def _same_evaluation(run: mlflow.entities.Run, version: int) -> mlflow.entities.Run | None:
    """Return the newest evaluation of another version on the same photos, None where there is none with intervals."""
    asked = {
        f"tags.`{DIGEST}`": run.data.tags[DIGEST],
        "tags.`dogbreed.split`": SPLIT,
        "params.tta": run.data.params["tta"],
        "params.model": f"models:/{MODEL}/{version}",
        "attributes.status": "FINISHED",
    }
    with translate():
        found = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=" and ".join(f"{name} = '{value}'" for name, value in asked.items()),
            output_format="list",
        )
    return next((other for other in found if f"{SPLIT}_top1_ci95_high" in other.data.metrics), None)


def _check_again(run: mlflow.entities.Run, top1_again: Callable[[], float]) -> None:
    """Raise CorruptData unless a freshly downloaded copy of the model does as well as its evaluation says."""
    before, now = run.data.metrics[f"{SPLIT}_top1"], top1_again()
    if abs(now - before) > RELOADED:
        raise CorruptData(
            f"the model of run {run.info.run_id} had top-1 {before:.2%} and has {now:.2%} when it is loaded again; "
            "train it again, or evaluate it with --restart if that is what it is worth"
        )


def top1_again(model: str, data: Store, batch_size: int, tta: str) -> float:
    """Return the top-1 accuracy, on the test split at `data`, of a copy of the model that is downloaded now."""
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as folder:
        loaded, metadata = classifier.load(runs.download(model, Path(folder) / "model"))
        pipeline = InputPipeline(load_manifest(data), data, metadata.view, batch_size, Path(folder) / "cache")
        labels, probabilities, _ = predict(loaded, pipeline, SPLIT, tta=tta)
    return metrics.compute_metrics(labels, probabilities)["top1"]


def _write_reason(version: int, run_id: str | None, reason: str) -> None:
    log.info("%s", reason)
    client = mlflow.MlflowClient()
    with translate():
        client.set_model_version_tag(MODEL, str(version), REASON, reason)
        if run_id:
            client.set_tag(run_id, REASON, reason)


def _recorded(version: int) -> str:
    with translate():
        found = mlflow.MlflowClient().get_model_version(MODEL, str(version))
    return str(found.tags.get(REASON, "the alias was set by hand"))


def _number(uri: str) -> int:
    """Return 7 for models:/dogbreed/7."""
    return int(uri.removeprefix(f"models:/{MODEL}/"))
