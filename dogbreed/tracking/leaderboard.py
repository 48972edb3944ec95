"""Evaluated models of one dataset side by side: how accurate, at what cost, by which command."""

import io
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import mlflow
import pandas as pd

from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import Store
from dogbreed.evaluation.figures import accuracy_vs_cost
from dogbreed.evaluation.markdown import render
from dogbreed.tracking import runs as tracking
from dogbreed.tracking.mlflow_errors import ABSENT, ping, translate
from dogbreed.tracking.runs import DIGEST, MODEL
from dogbreed.training.recipes import RECIPES, recipe_for_weights

COLUMNS = (
    "recipe", "command", "seed", "init_weights", "tta", "top1", "top1_ci95_low", "top1_ci95_high", "top5", "macro_f1",
    "hours", "processor", "epochs", "model", "run",
)  # fmt: skip
UNSEEN = ("name", "seed", "policy", "weights")  # parameters of a training that are no settings of its recipe

PAGE = """\
| recipe | {{ split }} top-1 | 95 % CI | top-5 | macro F1 | hours | command |
|---|---|---|---|---|---|---|
{% for row in rows %}
| {{ row.recipe }}
{%- if row.seeds > 1 %}, mean of {{ row.seeds }} seeds{% endif %}
{%- if row.tta != "none" %}, TTA {{ row.tta }}{% endif %} |
{{- " " }}{{ percent(row.top1) }} | {{ interval(row.low, row.high) }} | {{ percent(row.top5) }} |
{{- " " }}{{ "{:.3f}".format(row.macro_f1) }} |
{{- " " }}{% if row.hours == row.hours %}{{ "{:.2g}".format(row.hours) }} {{ row.processor }}{% endif %} |
{{- " " }}{% if row.command %}`python -m jobs.train --data DATA {{ row.command }}`{% endif %} |
{% endfor %}
"""

Run = mlflow.entities.Run


def evaluations(split: str, digest: str | None, runs: Sequence[str]) -> list[Run]:
    """Return the newest finished evaluation of each model on a split, or the named ones; all on the same dataset.

    digest: of the dataset, None for that of the runs. DataError when they are on another one, on several, or on
    another split; UsageError when there are none.
    """
    ping()
    with translate():
        found = [tracking.get_run(run) for run in runs] if runs else _finished(split, digest)
    if not found:
        raise UsageError(
            f"no finished evaluation on {split}{f' of {digest[:12]}' if digest else ''}; run jobs.evaluate"
        )
    for run in found:
        if run.data.tags.get("dogbreed.split") != split:
            raise DataError(f"run {run.info.run_id} is no evaluation on {split}; name others, or another --split")
    digests = Counter(run.data.tags.get(DIGEST, "none") for run in found)
    if set(digests) != {digest or next(iter(digests))}:
        counted = ", ".join(f"{name[:12]} ({count})" for name, count in digests.most_common())
        asked = f"asked for {digest[:12]}, " if digest else ""
        raise DataError(
            f"{asked}found evaluations on dataset {counted}: scores on different photos cannot be compared; "
            "name one dataset by --data, or --runs on the same one"
        )
    newest: dict[tuple[str, str], Run] = {}
    for run in found:
        newest.setdefault((run.data.params["model"], _tta(run)), run)
    return list(newest.values())


def _finished(split: str, digest: str | None) -> list[Run]:
    asked = f"tags.`dogbreed.split` = '{split}' and attributes.status = 'FINISHED'"
    if digest:
        asked += f" and tags.`{DIGEST}` = '{digest}'"
    found = mlflow.search_runs(
        experiment_ids=[tracking.experiment("evaluate")], filter_string=asked, output_format="list"
    )
    return list(found)


def _tta(run: Run) -> str:
    return str(run.data.params.get("tta", "none"))


def table(evaluated: Sequence[Run]) -> pd.DataFrame:
    """Return the columns of COLUMNS, a row an evaluation, the most accurate first.

    top1 with the ends of its 95 % interval, top5 and macro_f1 are fractions; hours are of GPUs where the training had
    some, of CPU cores elsewhere, without what went into weights that it began with.
    """
    rows = [_row(run, _training(run.data.params["model"])) for run in evaluated]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    return found.sort_values(["top1", "model"], ascending=[False, True], ignore_index=True)


def _row(run: Run, trained: Run | None) -> dict[str, Any]:
    split = run.data.tags["dogbreed.split"]
    names = ("top1", "top1_ci95_low", "top1_ci95_high", "top5", "macro_f1")
    scores = {name: run.data.metrics.get(f"{split}_{name}") for name in names}
    known = {"tta": _tta(run), "model": run.data.params["model"], "run": run.info.run_id}
    if trained is None:  # a model from a folder
        return {**known, **scores, "recipe": run.data.params["model"]}
    params, cost = trained.data.params, trained.data.metrics
    processor = "GPU" if "gpu_hours" in cost else "CPU"
    return {
        **known,
        **scores,
        "recipe": _recipe(params),
        "command": reproduce_command(params),
        "seed": params["seed"],
        "init_weights": params.get("weights", "none"),
        "hours": cost.get("gpu_hours", cost.get("cpu_hours")),
        "processor": processor,
        "epochs": cost.get("epochs"),
    }


def _training(model: str) -> Run | None:
    """Return the run that has made a model, None for one that no run has made or whose run was deleted."""
    version = re.fullmatch(rf"models:/{MODEL}/(\d+)", model)
    named = re.match(r"runs:/([^/]+)/", model)
    try:
        if version:
            run_id = mlflow.MlflowClient().get_model_version(MODEL, version[1]).run_id
            return mlflow.get_run(str(run_id))
        return mlflow.get_run(named[1]) if named else None
    except mlflow.exceptions.MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise


def _recipe(params: dict[str, str]) -> str:
    """Return the recipe's name and, where --set chose another model than it names, that one's too."""
    name, model = params["name"], params.get("model", "")
    usual = RECIPES[name]().model if name in RECIPES else model
    return name if model in ("", usual) else f"{name} ({model})"


def reproduce_command(params: dict[str, str]) -> str:
    """Return the options of jobs.train, but for data and seed, that a training's parameters come from."""
    name, weights = params["name"], params.get("weights", "none")
    words = ["--recipe", name]
    if weights != "none":
        words += ["--weights", weights]
    if name in RECIPES:
        usual = tracking.flatten_params(recipe_for_weights(name, weights).to_dict())
        changed = [key for key, value in usual.items() if key in params and params[key] != str(value)]
        words += [word for key in changed if key not in UNSEEN for word in ("--set", f"{key}={params[key]}")]
    return shlex.join(words)


def markdown(board: pd.DataFrame, split: str) -> str:
    """Return the table for a page, seeds of one command in one row: their mean, lowest and highest top-1."""
    numbers = dict.fromkeys(("top1", "top1_ci95_low", "top1_ci95_high", "top5", "macro_f1", "hours"), float)
    groups = board.fillna({"command": ""}).astype(numbers).groupby(["recipe", "command", "tta"], sort=False)
    rows = groups.agg(
        seeds=("top1", "size"),
        top1=("top1", "mean"),
        lowest=("top1", "min"),
        highest=("top1", "max"),
        low=("top1_ci95_low", "first"),
        high=("top1_ci95_high", "first"),
        top5=("top5", "mean"),
        macro_f1=("macro_f1", "mean"),
        hours=("hours", "mean"),
        processor=("processor", "first"),
    )
    several = rows["seeds"] > 1
    rows["low"] = rows["lowest"].where(several, rows["low"])
    rows["high"] = rows["highest"].where(several, rows["high"])
    best_first = rows.reset_index().sort_values("top1", ascending=False, kind="stable")
    return render(PAGE, split=split, rows=best_first.to_dict("records"))


def write(board: pd.DataFrame, text: str, split: str, out: Store) -> None:
    """Write the leaderboard as Markdown, CSV and a picture over an earlier one."""
    picture = io.BytesIO()
    accuracy_vs_cost.accuracy_vs_cost(board, split).savefig(picture, format="png")
    files = {"md": text.encode(), "csv": board.to_csv(index=False).encode(), "png": picture.getvalue()}
    for ending, data in files.items():
        key = f"leaderboard.{ending}"
        out.delete(key)  # a view of what MLflow holds: the one thing that the suite overwrites
        out.put(key, data)
