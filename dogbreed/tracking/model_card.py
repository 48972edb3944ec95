"""The model card: what a registered version is, how good, and what it must not be used for, from what MLflow knows."""

import re
from collections.abc import Iterable
from typing import Any

import mlflow

from dogbreed.evaluation.markdown import render
from dogbreed.tracking import runs
from dogbreed.tracking.mlflow_errors import warn_on_failure
from dogbreed.tracking.runs import DIGEST, MODEL

FILE = "model_card.md"
SCORES = ("top1", "top5", "macro_f1")
RANDOM = "none"  # weights that a training without --weights begins with

# Mitchell et al. 2019, arXiv:1810.03993: what it is, data, how good, limits, licence.
TEMPLATE = """# {{ model }}, version {{ version }}: the breed of a dog on a photo

Recipe `{{ params.name }}` (model {{ params.model }} at {{ params.size }} px), seed {{ params.seed }}, begun with
{%- if pretrained %} `{{ params.weights }}`{% else %} random weights{% endif %}, trained for {{ epochs }} epochs, epoch
{{ best_epoch }} kept, in run `{{ run }}`.

Input: a column `image` of JPEG or PNG photos, as bytes or base64 text. Output: breed, WordNet id, probability, the best
five, or why a photo cannot be used.

## Data

Dataset `{{ digest }}`: {{ data }}.

## How good

| split | dataset | top-1 | 95 % interval | top-5 | macro F1 | run |
|---|---|---|---|---|---|---|
{% for row in rows %}
| {{ row.split }}{% if row.tta != "none" %}, TTA {{ row.tta }}{% endif %} | `{{ row.dataset }}` |
{{- " " }}{{ percent(row.top1) }} | {{ interval(row.low, row.high) }} | {{ percent(row.top5) }} |
{{- " " }}{{ "{:.3f}".format(row.macro_f1) }} | `{{ row.run }}` |
{% endfor %}

The kept epoch was chosen on validation, so validation flatters. An interval says what other photos of the same kind
would have given; another seed of the training is not in it.

## Limits

- It names one of the breeds that it has learnt, whatever is on the photo: another breed, a mixed breed, a cat.
- It has learnt
{%- if crop == "none" %} whole photos
{%- else %} dogs that were cropped by a box drawn by hand, with a margin of {{ margin }} box sides
{%- endif %}; nobody crops the photos that it is served. Dogs that fill little of a photo are recognised
  less often than the table says.
{% if pretrained %}
- Its first weights may have been learnt on the photos that it was tested with: the table is optimistic.
{% else %}
- It has seen no photos but those of the dataset's train split.
{% endif %}
- A probability is the model's own; whether one of 80 % is right in 80 of 100 cases is what calibration tells.

## Licence

Stanford Dogs' photos come from ImageNet: research and education only, no right to redistribute them. Photos of your
own keep the licence that they have. The code is under the Apache License 2.0.
"""


def describe(model: str) -> None:
    """Write the card of models:/dogbreed/VERSION as its description and into its run; any failure is a warning.

    Another kind of URI has no card. Doing it again with more evaluations adds their scores.
    """
    match = re.fullmatch(rf"models:/{MODEL}/(\d+)", model)
    if match is None:
        return
    with warn_on_failure("the model card"):
        client = mlflow.MlflowClient()
        version = client.get_model_version(MODEL, match[1])
        trained = client.get_run(str(version.run_id))
        card = text(match[1], trained, evaluations(model))
        client.update_model_version(MODEL, match[1], card)
        client.log_text(trained.info.run_id, card, FILE)


def evaluations(model: str) -> list[mlflow.entities.Run]:
    """Return the finished evaluations of a model, the newest first."""
    finished = f"params.model = '{model}' and attributes.status = 'FINISHED'"
    return mlflow.search_runs(
        experiment_ids=[runs.experiment("evaluate")], filter_string=finished, output_format="list"
    )


def text(version: str, trained: mlflow.entities.Run, evaluated: Iterable[mlflow.entities.Run]) -> str:
    """Return the card in Markdown."""
    params = trained.data.params
    data = {name.removeprefix("data."): value for name, value in params.items() if name.startswith("data.")}
    return render(
        TEMPLATE,
        model=MODEL,
        version=version,
        params=params,
        pretrained=params.get("weights", RANDOM) != RANDOM,
        epochs=_whole(trained, "epochs"),
        best_epoch=_whole(trained, "best_epoch"),
        run=trained.info.run_id,
        digest=trained.data.tags[DIGEST],
        data=", ".join(f"{name} {value}" for name, value in data.items() if value not in ("None", "[]", "False")),
        crop=data.get("crop", "box"),
        margin=data.get("margin", "0"),
        rows=[_row("validation", "best_val", trained), *_newest(evaluated)],
    )


def _newest(evaluated: Iterable[mlflow.entities.Run]) -> list[dict[str, Any]]:
    """Return a row for each split, dataset and way to look at photos; `evaluated` has the newest first."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run in evaluated:
        split, tta = run.data.tags["dogbreed.split"], run.data.params.get("tta", "none")
        rows.setdefault((split, tta, run.data.tags[DIGEST]), _row(split, split, run, tta))
    return list(rows.values())


def _row(split: str, prefix: str, run: mlflow.entities.Run, tta: str = "none") -> dict[str, Any]:
    found = run.data.metrics
    scores = {score: found.get(f"{prefix}_{score}", float("nan")) for score in SCORES}
    ends = {end: found.get(f"{prefix}_top1_ci95_{end}") for end in ("low", "high")}
    return {"split": split, "tta": tta, "dataset": run.data.tags[DIGEST][:12], "run": run.info.run_id} | scores | ends


def _whole(run: mlflow.entities.Run, metric: str) -> str:
    value = run.data.metrics.get(metric)
    return "?" if value is None else f"{value:.0f}"
