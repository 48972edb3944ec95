"""Names in a run, a model and a summary, without the values that differ from one run to the next."""

import re
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run

OF_MLFLOW = ("mlflow.note.content", "mlflow.parentRunId")  # of its tags, those that the suite writes


def describe_run(client: mlflow.MlflowClient, run_id: str) -> dict[str, Any]:
    """Return the names of everything in a run, with the steps of each metric and the first line of each table."""
    run = client.get_run(run_id)
    return {
        "experiment": client.get_experiment(run.info.experiment_id).name,
        "name": re.sub("[0-9a-f]{8,}", "HASH", run.info.run_name or ""),
        "params": sorted(run.data.params),
        "metrics": {
            name: sorted({point.step for point in client.get_metric_history(run_id, name)})
            for name in sorted(run.data.metrics)
            if not name.startswith(("system/", "gpu_"))  # as the machine has them
        },
        "tags": sorted(tag for tag in run.data.tags if tag.startswith("dogbreed.") or tag in OF_MLFLOW),
        "inputs": [[given.dataset.name, *(tag.value for tag in given.tags)] for given in run.inputs.dataset_inputs],
        "artifacts": _describe_artifacts(client, run, ""),
    }


def _describe_artifacts(client: mlflow.MlflowClient, run: Run, folder: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for entry in client.list_artifacts(run.info.run_id, folder):
        if entry.is_dir:
            found |= _describe_artifacts(client, run, entry.path)
        elif entry.path.endswith(".csv"):
            found[entry.path] = first_line(Path(client.download_artifacts(run.info.run_id, entry.path)))
        else:
            found[entry.path] = None
    return found


def first_line(file: Path) -> str:
    """Return the first line of a text file."""
    return file.read_text().splitlines()[0]


def describe_summary(summary: Any) -> Any:
    """Return a summary with each value replaced by its type; of a list, the type of its first entry."""
    if isinstance(summary, dict):
        return {key: describe_summary(value) for key, value in summary.items()}
    if isinstance(summary, list):
        return [describe_summary(value) for value in summary[:1]]
    return type(summary).__name__


def describe_model(folder: Path) -> dict[str, Any]:
    """Return the suite's own files in a downloaded model, and what it requires and takes."""
    signature = mlflow.models.Model.load(str(folder)).signature
    lines = (folder / "requirements.txt").read_text().splitlines()
    return {
        "artifacts": sorted(path.name for path in (folder / "artifacts").iterdir()),
        "requirements": [line.partition("==")[0] for line in lines],
        "inputs": signature.inputs.input_names(),
        "outputs": signature.outputs.input_names(),
    }
