"""What a search found: its summary, and the study's run in MLflow."""

import shlex
from typing import NotRequired, TypedDict

from optuna.trial import FrozenTrial

from dogbreed.core.errors import DataError
from dogbreed.tracking import search_run
from dogbreed.tracking.runs import Run
from dogbreed.workflows.search_study import Study


class SearchSummary(TypedDict):
    """Summary of jobs.search."""

    study: str
    run_id: str
    trials: int  # with values of their own, in any state
    complete: int
    pruned: int
    failed: int
    running: int  # by other processes, or left by --hours
    best_trial: int
    best_val_top1: float
    mean_val_top1: NotRequired[float]  # of that trial over the other seeds, with --repeat-best
    hours: float  # of cores, or of GPUs
    command: str  # that trains the best trial's recipe and registers the model


def conclude(study: Study, run: Run, command: str) -> SearchSummary:
    """Log what the study found, and return it; DataError if no trial is complete.

    command: jobs.train with what all trials share.
    """
    best, table, means = study.winner(), study.table(), study.mean_scores()
    whole = _command(study, best, command) if best else ""
    note = search_run.describe_study(study.name, table, {number + 1: mean for number, mean in means.items()}, whole)
    search_run.conclude(run, table, study.importances(), study.space.logarithmic, note, study.is_finished())
    if not best:
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
        "best_trial": best.number + 1,
        "best_val_top1": best.values[0],
        "hours": float(table["hours"].sum()),
        "command": whole,
    }
    return {**summary, "mean_val_top1": means[best.number]} if best.number in means else summary


def _command(study: Study, trial: FrozenTrial, command: str) -> str:
    settings = [*study.space.settings, *study.settings(study.resume(trial))]
    return " ".join([command, *(f"--set {shlex.quote(setting)}" for setting in settings)])
