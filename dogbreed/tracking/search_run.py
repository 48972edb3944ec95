"""The MLflow run of a study, which its workers share: progress, figures, table of trials, winner."""

import logging
from collections.abc import Mapping
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import DatasetInput
from mlflow.tracking.context.registry import resolve_tags

from dogbreed.core.errors import NAMES
from dogbreed.core.text import pluralize
from dogbreed.evaluation.figures import search
from dogbreed.tracking import runs
from dogbreed.tracking.mlflow_errors import ping, translate
from dogbreed.tracking.runs import JOB_FINGERPRINT, JOB_KEY, Run

ENOUGH_TRIALS = 10  # complete ones, for importances of fields that mean something

log = logging.getLogger(__name__)


def find_or_create(
    prefix: str, study: str, fingerprint: str, params: Mapping[str, Any], tags: Mapping[str, str], data: DatasetInput
) -> Run:
    """Return the run of a study, RUNNING; one process at a time may call this.

    Raises:
        DataError: the name belongs to another study.
        ServiceUnavailable: MLflow does not respond.
    """
    ping()
    with translate():
        client, experiment = mlflow.MlflowClient(), runs.experiment(prefix, "search")
        query = f"tags.`{JOB_KEY}` = '{study}'"
        found = mlflow.search_runs([experiment], filter_string=query, output_format="list")
        if found:
            runs.check_same_job(found[0], fingerprint)
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
        else:
            own = {**tags, JOB_KEY: study, JOB_FINGERPRINT: fingerprint}
            run = client.create_run(experiment, run_name=study, tags=resolve_tags(own))
        for name, value in runs.flatten_params(params).items():
            if name not in run.data.params:  # a process that was killed here has logged some
                client.log_param(run.info.run_id, name, value)
        if not (run.inputs and run.inputs.dataset_inputs):
            client.log_inputs(run.info.run_id, [data])
        return Run(run.info.run_id)


def conclude(
    run: Run,
    table: pd.DataFrame,
    importances: Mapping[str, float],
    fields: Mapping[str, bool],
    note: str,
    status: str,
) -> None:
    """Log the figures, the table and the note of a study, and set the status of its run.

    Args:
        table: a row a trial: the columns STANDARD of the figures, and one for each field.
        importances: by field; none if there are too few trials.
        fields: that were searched, and whether in their logarithm.
        note: Markdown.
        status: FINISHED, RUNNING where other processes train, KILLED where trials are left and nobody trains them.
    """
    with translate():
        mlflow.start_run(run_id=run.id, nested=True)
        try:
            run.log_text("tables/trials.csv", table.to_csv(index=False))
            searched = table[table["repeats"].isna()]
            run.log_figure("search_progress", search.search_progress(searched))
            if importances:
                run.log_figure("importances", search.parameter_importances(importances))
            run.log_figure("slices", search.parameter_slices(searched, fields))
            runs.set_note(note)
            run.flush()
            log.info("figures and table of the study: %s", run.artifact_uri)
        finally:
            mlflow.end_run(status)


def describe_study(name: str, table: pd.DataFrame, mean_scores: Mapping[int, float], best: str, command: str) -> str:
    """Return the description of a study's run, Markdown.

    Args:
        table: a row a trial: the columns STANDARD of the figures, and one for each field.
        mean_scores: of the best trials over other seeds, by trial; none without --repeat-best.
        best: a sentence on the best trial, if there is one.
        command: that trains the best trial's recipe, if there is one.
    """
    searched = table[table["repeats"].isna()]
    counts = ", ".join(f"{count:,} {str(state).lower()}" for state, count in searched["state"].value_counts().items())
    lines = [f"Study {name}: {pluralize(len(searched), 'trial')}, {counts}.", ""]
    if mean_scores:
        lines += ["| trial | val_top1 | mean over other seeds |", "|---|---|---|"]
        found = searched.set_index("trial")["val_top1"]
        ranked = sorted(mean_scores.items(), key=lambda item: -item[1])
        lines += [*(f"| {trial} | {found[trial]:.1%} | {mean:.1%} |" for trial, mean in ranked), ""]
    if command:
        lines += [f"{best} Its recipe is trained, and the model registered, by", ""]
        lines += ["```sh", command.replace(" --set ", " \\\n  --set "), "```", ""]
    if int((searched["state"] == "COMPLETE").sum()) < ENOUGH_TRIALS:
        lines += [f"The importance of the fields is computed from {ENOUGH_TRIALS} complete trials on.", ""]
    reasons = table.loc[table["reason"] != "", "reason"].value_counts()
    lines += [f"- {pluralize(int(count), 'trial')}: {reason}" for reason, count in reasons.head(NAMES).items()]
    return "\n".join(lines)
