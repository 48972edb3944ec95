"""The leaderboard of a dataset: accuracy, training cost and the command of each evaluated model."""

import io
import logging
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import mlflow
import pandas as pd

from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import Store
from dogbreed.core.text import pluralize
from dogbreed.evaluation.figures import accuracy_vs_cost
from dogbreed.evaluation.markdown import render
from dogbreed.tracking import registry
from dogbreed.tracking import runs as tracking
from dogbreed.tracking.lineage import TEACHER, TEACHER_RUN
from dogbreed.tracking.mlflow_errors import ABSENT, ping, translate
from dogbreed.tracking.runs import DIGEST, SPLIT, TRAINING_RUN, MlflowRun
from dogbreed.training.recipes import RECIPES, recipe_for_weights, with_distillation

COLUMNS = (
    "recipe", "command", "seed", "init_weights", "tta", "top1", "top1_ci95_low", "top1_ci95_high", "top5", "macro_f1",
    "classes_without_images", "hours", "processor", "epochs", "model", "run",
    "teacher", "teacher_hours", "teacher_processor",
)  # fmt: skip
TEACHER_PARAMETER = "distillation.teacher"
NOT_SETTINGS = ("name", "seed", "policy", "weights", "distillation.teacher")  # parameters that --set does not change

log = logging.getLogger(__name__)

PAGE = """\
| recipe | {{ split }} top-1 | 95 % CI | top-5 | macro F1 | hours | command |
|---|---|---|---|---|---|---|
{% for row in rows %}
| {{ row.recipe }}
{%- if row.seeds > 1 %}, mean of {{ row.seeds }} seeds{% endif %}
{%- if row.tta != "none" %}, TTA {{ row.tta }}{% endif %} |
{{- " " }}{{ percent(row.top1) }} | {{ interval(row.low, row.high) }}
{%- if row.seeds > 1 %} (range of seeds){% endif %} |
{{- " " }}{{ percent(row.top5) }} |
{{- " " }}{{ "{:.3f}".format(row.macro_f1) }} |
{{- " " }}{% if row.hours == row.hours %}{{ "{:.2g}".format(row.hours) }} {{ row.processor }}{% endif %}
{%- if row.has_teacher %} + {% if row.teacher_hours == row.teacher_hours %}{{ "{:.2g}".format(row.teacher_hours) }}
{{- " " }}{{ row.teacher_processor }}{% else %}?{% endif %} for the teacher{% endif %} |
{{- " " }}{% if row.command %}`python -m jobs.train --data DATA {{ row.command }}`{% endif %} |
{% endfor %}
{% if missing %}

Macro F1 leaves out {{ missing }} without {{ split }} images.
{% endif %}
"""


def evaluations(prefix: str, split: str, digest: str | None, run_ids: Sequence[str]) -> list[MlflowRun]:
    """Return the newest finished evaluation of each model and TTA on a split, or of the given runs; on one dataset.

    Args:
        prefix: of the experiment that is searched, not used with `run_ids`.
        digest: of the dataset, None for that of the runs.

    Raises:
        UsageError: there are none.
        DataError: they are on another dataset, on several, or on another split.
    """
    ping(write=False)
    with translate():
        found = [tracking.get_run(run_id) for run_id in run_ids] if run_ids else _search(prefix, split, digest)
    if not found:
        raise UsageError(
            f"no finished evaluation on {split}{f' of {digest[:12]}' if digest else ''} in experiment "
            f"{prefix}/evaluate; run jobs.evaluate, or name another --experiment-prefix"
        )
    _check_split(found, split)
    _check_one_dataset(found, digest)
    return _newest_per_model(found)


def _search(prefix: str, split: str, digest: str | None) -> list[MlflowRun]:
    """Return all finished evaluations on a split, the newest first; none where there is no such experiment."""
    query = f"tags.`{SPLIT}` = '{split}' and attributes.status = 'FINISHED'"
    if digest:
        query += f" and tags.`{DIGEST}` = '{digest}'"
    found = mlflow.search_runs(experiment_names=[f"{prefix}/evaluate"], filter_string=query, output_format="list")
    return [run for run in found if not _is_replaced(run)]


def _is_replaced(run: MlflowRun) -> bool:
    """Return whether the name of the evaluated model belongs to another model now, and log a warning if it does."""
    version = registry.parse_version(run.data.params["model"])
    if version is None:
        return False
    name, number = version
    try:
        present = mlflow.MlflowClient().get_model_version(name, str(number)).run_id
    except mlflow.exceptions.MlflowException as error:
        if error.error_code in ABSENT:
            return False
        raise
    if present == run.data.tags.get(TRAINING_RUN):
        return False
    log.warning("ignored run %s: %s is another model now; evaluate it", run.info.run_id, run.data.params["model"])
    return True


def _check_split(found: Sequence[MlflowRun], split: str) -> None:
    for run in found:
        if run.data.tags.get(SPLIT) != split:
            raise DataError(f"run {run.info.run_id} is not an evaluation on {split}; name others, or another --split")


def _check_one_dataset(found: Sequence[MlflowRun], digest: str | None) -> None:
    digests = Counter(run.data.tags.get(DIGEST, "none") for run in found)
    if set(digests) == {digest or next(iter(digests))}:
        return
    counted = ", ".join(f"{name[:12]} ({count})" for name, count in digests.most_common())
    wanted = f"--data is {digest[:12]}, " if digest else ""
    raise DataError(
        f"{wanted}found evaluations on dataset {counted}: scores on different images cannot be compared; "
        "name one dataset by --data, or --runs on the same one"
    )


def _newest_per_model(found: Sequence[MlflowRun]) -> list[MlflowRun]:
    """Return the first run of each model and TTA."""
    newest: dict[tuple[str, str], MlflowRun] = {}
    for run in found:
        newest.setdefault((run.data.params["model"], _tta(run)), run)
    return list(newest.values())


def _tta(run: MlflowRun) -> str:
    return str(run.data.params.get("tta", "none"))


def table(evaluated: Sequence[MlflowRun]) -> pd.DataFrame:
    """Return the columns of COLUMNS, one row per evaluation, the most accurate first.

    top1 with its 95 % confidence interval, top5 and macro_f1 are fractions; classes_without_images is the number of
    classes that macro_f1 leaves out, the same for all rows. hours are GPU hours if the training used
    GPUs, otherwise CPU core hours; the training of initial weights is not included. teacher_hours are those of the
    teacher's training, without what its own teacher took.
    """
    with translate():
        rows = [_row(run, _find_run(run.data.tags.get(TRAINING_RUN))) for run in evaluated]
    board = pd.DataFrame(rows, columns=list(COLUMNS))
    return board.sort_values(["top1", "model"], ascending=[False, True], ignore_index=True)


def _row(run: MlflowRun, trained: MlflowRun | None) -> dict[str, Any]:
    split = run.data.tags[SPLIT]
    names = ("top1", "top1_ci95_low", "top1_ci95_high", "top5", "macro_f1", "classes_without_images")
    scores = {name: run.data.metrics.get(f"{split}_{name}") for name in names}
    known = {"tta": _tta(run), "model": run.data.params["model"], "run": run.info.run_id}
    if trained is None:  # a model from a folder
        return {**known, **scores, "recipe": run.data.params["model"]}
    params, tags = trained.data.params, trained.data.tags
    teacher = _find_run(tags.get(TEACHER_RUN))
    return {
        **known,
        **scores,
        "recipe": _recipe_name(params),
        "command": reproduce_command(params),
        "seed": params["seed"],
        "init_weights": params.get("weights", "none"),
        **_cost(trained),
        "epochs": trained.data.metrics.get("epochs"),
        "teacher": tags.get(TEACHER),
        **{f"teacher_{name}": value for name, value in (_cost(teacher) if teacher else {}).items()},
    }


def _cost(trained: MlflowRun) -> dict[str, Any]:
    """Return hours and processor of a training."""
    found = trained.data.metrics
    processor = "GPU" if "gpu_hours" in found else "CPU"
    return {"hours": found.get("gpu_hours", found.get("cpu_hours")), "processor": processor}


def _find_run(run_id: str | None) -> MlflowRun | None:
    """Return a training run, None if there is none or it was deleted."""
    try:
        return mlflow.get_run(run_id) if run_id else None
    except mlflow.exceptions.MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise


def _recipe_name(params: dict[str, str]) -> str:
    """Return the recipe's name, the name of its model if --set replaced that, and whether it had a teacher."""
    name, model = params["name"], params.get("model", "")
    default = RECIPES[name]().model if name in RECIPES else model
    shown = name if model in ("", default) else f"{name} ({model})"
    return f"{shown}, with a teacher" if TEACHER_PARAMETER in params else shown


def reproduce_command(params: dict[str, str]) -> str:
    """Return the options of jobs.train, without --data and --seed, that reproduce a training's parameters."""
    name, weights = params["name"], params.get("weights", "none")
    words = ["--recipe", name]
    if weights != "none":
        words += ["--weights", weights]
    teacher = params.get(TEACHER_PARAMETER)
    if teacher:
        words += ["--teacher", teacher]
    if name in RECIPES:
        recipe = recipe_for_weights(name, weights)
        defaults = tracking.flatten_params((with_distillation(recipe, teacher) if teacher else recipe).to_dict())
        changed = [key for key, value in defaults.items() if key in params and params[key] != str(value)]
        words += [word for key in changed if key not in NOT_SETTINGS for word in ("--set", f"{key}={params[key]}")]
    return shlex.join(words)


def markdown(board: pd.DataFrame, split: str) -> str:
    """Return the leaderboard as Markdown; seeds of one command are one row: mean, minimum and maximum top-1."""
    numbers = dict.fromkeys(
        ("top1", "top1_ci95_low", "top1_ci95_high", "top5", "macro_f1", "hours", "teacher_hours"), float
    )
    groups = board.fillna({"command": ""}).astype(numbers).groupby(["recipe", "command", "tta"], sort=False)
    rows = groups.agg(
        seeds=("top1", "size"),
        top1=("top1", "mean"),
        min_top1=("top1", "min"),
        max_top1=("top1", "max"),
        low=("top1_ci95_low", "first"),
        high=("top1_ci95_high", "first"),
        top5=("top5", "mean"),
        macro_f1=("macro_f1", "mean"),
        hours=("hours", "mean"),
        processor=("processor", "first"),
        has_teacher=("teacher", lambda found: found.notna().any()),
        teacher_hours=("teacher_hours", "first"),
        teacher_processor=("teacher_processor", "first"),
    )
    several = rows["seeds"] > 1
    rows["low"] = rows["min_top1"].where(several, rows["low"])
    rows["high"] = rows["max_top1"].where(several, rows["high"])
    best_first = rows.reset_index().sort_values("top1", ascending=False, kind="stable")
    empty = board["classes_without_images"].astype(float).max()  # NaN if no evaluation has counted them
    missing = pluralize(int(empty), "class") if empty > 0 else ""
    return render(PAGE, split=split, rows=best_first.to_dict("records"), missing=missing)


def write(board: pd.DataFrame, text: str, split: str, out: Store) -> None:
    """Write the leaderboard as Markdown, CSV and a figure; replaces an earlier one."""
    figure = io.BytesIO()
    accuracy_vs_cost.accuracy_vs_cost(board, split).savefig(figure, format="png")
    files = {"md": text.encode(), "csv": board.to_csv(index=False).encode(), "png": figure.getvalue()}
    for suffix, data in files.items():
        key = f"leaderboard.{suffix}"
        out.delete(key)  # derived from MLflow: the only objects that the suite overwrites
        out.put(key, data)
