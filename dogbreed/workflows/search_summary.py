"""What a search found: its summary, and the study's run in MLflow."""

import logging
import shlex
from typing import NotRequired, TypedDict

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from dogbreed.core.errors import DataError
from dogbreed.core.text import pluralize
from dogbreed.evaluation.figures.search import STANDARD
from dogbreed.evaluation.intervals import proportion_interval
from dogbreed.tracking import search_run
from dogbreed.tracking.runs import Run
from dogbreed.training.search_spaces import to_setting
from dogbreed.workflows.search_study import HOURS, REASON, REPEATS, SEED, Study

log = logging.getLogger(__name__)


class SearchSummary(TypedDict):
    """Summary of jobs.search."""

    study: str
    run_id: str
    trials: int  # with values of their own, in any state
    complete: int
    pruned: int
    failed: int
    running: int  # by other processes, or left by --hours
    best_trial: int | None  # None while no trial is complete
    best_val_top1: float | None
    mean_val_top1: NotRequired[float]  # of that trial over the other seeds, with --repeat-best
    hours: float  # of cores, or of GPUs
    command: str  # that trains the best trial's recipe and registers the model; empty without


def conclude(study: Study, run: Run, command: str, images: int) -> SearchSummary:
    """Log what the study found, and return it; DataError if all trials have ended, and none is complete.

    Args:
        command: jobs.train with what all trials share.
        images: of the validation split.
    """
    best, table, means = study.winner(), _table(study), study.mean_scores()
    whole = _command(study, best, command) if best else ""
    sentence = _describe(best, images) if best else ""
    ranked = {number + 1: mean for number, mean in means.items()}
    note = search_run.describe_study(study.name, table, ranked, sentence, whole)
    status = "FINISHED" if study.is_finished() else "RUNNING" if study.running() else "KILLED"
    search_run.conclude(run, table, _importances(study), study.space.fields, note, status)
    if not best and study.is_finished():
        raise DataError(f"none of {len(table)} trials is complete; the reasons are in run {run.id}")
    searched = table[table["repeats"].isna()]
    counts = searched["state"].value_counts()
    summary: SearchSummary = {
        "study": study.name,
        "run_id": run.id,
        "trials": len(searched),
        "complete": int(counts.get("COMPLETE", 0)),
        "pruned": int(counts.get("PRUNED", 0)),
        "failed": int(counts.get("FAIL", 0)),
        "running": int((table["state"] == "RUNNING").sum()),
        "best_trial": best.number + 1 if best else None,
        "best_val_top1": best.values[0] if best else None,
        "hours": float(table["hours"].sum()),
        "command": whole,
    }
    return {**summary, "mean_val_top1": means[best.number]} if best and best.number in means else summary


def _describe(best: FrozenTrial, images: int) -> str:
    low, high = proportion_interval(round(best.values[0] * images), images)
    return (
        f"Trial {best.number + 1} is the best: val_top1 {best.values[0]:.1%} (95 % interval {low:.1%} to {high:.1%}, "
        f"{pluralize(images, 'validation image')}; the best of several scores is too high by chance)."
    )


def _command(study: Study, trial: FrozenTrial, command: str) -> str:
    settings = [*study.space.settings, *(to_setting(field, trial.params[field]) for field in study.space.parameters)]
    return " ".join([command, *(f"--set {shlex.quote(setting)}" for setting in settings)])


def _table(study: Study) -> pd.DataFrame:
    """Return a row a trial: the columns STANDARD of the figures, and one for each field."""
    rows = [
        {
            "trial": trial.number + 1,
            "repeats": trial.user_attrs[REPEATS] + 1 if REPEATS in trial.user_attrs else None,
            "seed": trial.user_attrs.get(SEED, study.options.seed),
            "state": trial.state.name,
            "val_top1": trial.value if trial.state == TrialState.COMPLETE else None,
            "hours": trial.user_attrs.get(HOURS, 0.0),
            "trained_epochs": len(trial.intermediate_values),
            "reason": trial.user_attrs.get(REASON, ""),
            **{field: trial.params.get(field) for field in study.space.parameters},
        }
        for trial in study.trials()
    ]
    return pd.DataFrame(rows, columns=[*STANDARD, *study.space.parameters])


def _importances(study: Study) -> dict[str, float]:
    """Return the fraction of the scores' variance that each field explains; none for fewer than ten trials."""
    complete = study.searched(TrialState.COMPLETE)
    if len(complete) < search_run.ENOUGH_TRIALS or len(study.space.parameters) < 2:
        return {}
    in_memory = optuna.create_study(direction="maximize")  # without repeats
    in_memory.add_trials(complete)
    try:
        return optuna.importance.get_param_importances(in_memory)
    except (RuntimeError, ValueError) as error:  # equal scores, or a field that never changed
        log.info("importances cannot be computed: %s", error)
        return {}
