"""The model card of a registered version: details, data, metrics and limitations, from its runs in MLflow."""

import logging
from collections.abc import Iterable
from typing import Any

import mlflow

from dogbreed.core.text import pluralize
from dogbreed.evaluation.markdown import render
from dogbreed.tracking import lineage, registry, runs
from dogbreed.tracking.mlflow_errors import warn_on_failure
from dogbreed.tracking.runs import BOXES, DIGEST, IMAGENET, SPLIT, MlflowRun
from dogbreed.tracking.training_outputs import TEST_ZOOM, ZOOMED_TOP1

FILE = "model_card.md"
SCORES = ("top1", "top5", "macro_f1")
OF_BOXES = ("crop", "margin", "objects")  # parameters of a dataset that mean nothing without bounding boxes
RANDOM = "none"  # initial weights of a training without --weights

log = logging.getLogger(__name__)

# Mitchell et al. 2019, arXiv:1810.03993: model details, data, metrics, limitations, licence.
TEMPLATE = """# {{ model }}, version {{ version }}: image classifier

Recipe `{{ params.name }}` (model {{ params.model }} at {{ params.size }} px), seed {{ params.seed }}, initialized with
{%- if pretrained %} `{{ params.weights }}`{% else %} random weights{% endif %}, trained for {{ epochs }} epoch
{%- if epochs != "1" %}s{% endif %},
weights of epoch {{ best_epoch }}, in run `{{ run }}`.
{% if teacher %}

It learned from the probabilities of the teacher `{{ teacher.uri }}` (SHA-256 `{{ teacher.sha256 }}`), which was trained
on dataset `{{ teacher.dataset }}`, initialized with
{%- if teacher.weights == "none" %} random weights{% elif teacher.weights %} `{{ teacher.weights }}`
{%- else %} weights that are not known here{% endif %}
{%- if teacher.own_teacher %}, from its own teacher `{{ teacher.own_teacher }}`{% endif %}.
{% endif %}

Input: a column `image` of encoded images (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF), as bytes or base64 text. Output:
class,{% if imagenet %} WordNet id,{% endif %} probability, the top five, or the error for an image that cannot be used.
{% if zoom != "1" %}
It sees the centre of an image, with a zoom of {{ zoom }}: with it top-1 on validation is {{ percent(zoomed_top1) }}.
The validation scores below are without a zoom, all others with it.
{% endif %}

## Data

Dataset `{{ digest }}`: {{ data }}.

## Metrics

| split | dataset | top-1 | 95 % CI | top-5 | macro F1 | run |
|---|---|---|---|---|---|---|
{% for row in rows %}
| {{ row.split }}{% if row.tta != "none" %}, TTA {{ row.tta }}{% endif %} | `{{ row.dataset }}` |
{{- " " }}{{ percent(row.top1) }} | {{ interval(row.low, row.high) }} | {{ percent(row.top5) }} |
{{- " " }}{{ "{:.3f}".format(row.macro_f1) }}
{%- if row.missing %} ({{ row.missing }} without images left out){% endif %} | `{{ row.run }}` |
{% endfor %}

The epoch was chosen on validation, so the validation scores are optimistic. A confidence interval covers the choice of
test images, not the seed of the training.

## Limitations

- It always predicts one of its classes, also for an image of something else
{%- if imagenet %}: another breed, a cat{% endif %}.
- It was trained on
{%- if not boxes or crop == "none" %} whole images
{%- else %} crops to a hand-drawn bounding box with a margin of {{ margin }} box sides, but images are not cropped when
  it is served: objects that fill little of an image are recognised less often than the table shows
{%- endif %}.
{% if pretrained %}
- Its initial weights may have been trained on images of the test split: the scores may be optimistic.
{% endif %}
{% if teacher and teacher.may_have_seen_test %}
- Its teacher, or what that began with or learned from, may have been trained on images of the test split: the scores
  may be optimistic.
{% endif %}
{% if not pretrained and not (teacher and teacher.may_have_seen_test) %}
- It was trained on no images but those of the dataset's train split
{%- if teacher %}, and so was its teacher{% endif %}.
{% endif %}
- Its probabilities are not calibrated; the evaluation's report shows how far confidence and accuracy differ.

## Licence

{% if imagenet %}
The images of Stanford Dogs come from ImageNet: research and education only, no right to redistribute them. Your own
images keep their licence.
{%- else %}
The images of {{ name }} keep their licence.
{%- endif %}
 The code is under the Apache License 2.0.
"""


def describe(model: str, registered_model: str, prefix: str) -> None:
    """Write the card of models:/NAME/VERSION to the registry and to its run; a failure is a warning.

    Idempotent: a later call adds the scores of later evaluations. Other URIs have no card.

    Args:
        registered_model: the only one whose cards are written: those of others belong to other datasets.
        prefix: of the experiment with the evaluations.
    """
    version_of = registry.parse_version(model)
    if version_of is None:
        return
    name, number = version_of
    if name != registered_model:
        log.info("%s is no version of %s: its model card stays as it is", model, registered_model)
        return
    with warn_on_failure("the model card"):
        client = mlflow.MlflowClient()
        version = client.get_model_version(name, str(number))
        trained = client.get_run(str(version.run_id))
        card = render_card(name, number, trained, evaluations(prefix, model, str(version.run_id)))
        client.update_model_version(name, str(number), card)
        client.log_text(trained.info.run_id, card, FILE)


def evaluations(prefix: str, model: str, training_run: str) -> list[MlflowRun]:
    """Return the finished evaluations of a model from that training, the newest first."""
    finished = f"params.model = '{model}' and attributes.status = 'FINISHED'"
    finished += f" and tags.`{runs.TRAINING_RUN}` = '{training_run}'"
    return mlflow.search_runs(
        experiment_ids=[runs.experiment(prefix, "evaluate")], filter_string=finished, output_format="list"
    )


def render_card(name: str, version: int, trained: MlflowRun, evaluated: Iterable[MlflowRun]) -> str:
    """Return the card in Markdown."""
    params, tags = trained.data.params, trained.data.tags
    boxes = tags.get(BOXES) == "true"
    data = {name.removeprefix("data."): value for name, value in params.items() if name.startswith("data.")}
    shown = {name: value for name, value in data.items() if boxes or name not in OF_BOXES}
    return render(
        TEMPLATE,
        model=name,
        version=version,
        params=params,
        pretrained=params.get("weights", RANDOM) != RANDOM,
        epochs=_format_count(trained, "epochs"),
        best_epoch=_format_count(trained, "best_epoch"),
        zoom=f"{trained.data.metrics.get(TEST_ZOOM, 1.0):g}",
        zoomed_top1=trained.data.metrics.get(ZOOMED_TOP1),
        run=trained.info.run_id,
        digest=tags[DIGEST],
        teacher=_teacher(tags),
        name=data.get("name", name),
        imagenet=tags.get(IMAGENET) == "true",
        boxes=boxes,
        data=", ".join(f"{name} {value}" for name, value in shown.items() if value not in ("None", "[]", "False")),
        crop=data.get("crop", "box"),
        margin=data.get("margin", "0"),
        rows=[_row("validation", "best_val", trained), *_newest_rows(evaluated)],
    )


def _teacher(tags: dict[str, str]) -> dict[str, Any] | None:
    """Return what the run of a training tells of its teacher, None without one."""
    if lineage.TEACHER not in tags:
        return None
    weights, own_teacher = tags.get(lineage.TEACHER_WEIGHTS, ""), tags.get(lineage.TEACHERS_TEACHER, "")
    dataset = tags[lineage.TEACHER_DATASET]
    return {
        "uri": tags[lineage.TEACHER],
        "sha256": tags[lineage.TEACHER_SHA256],
        "dataset": dataset,
        "weights": weights,
        "own_teacher": own_teacher,
        "may_have_seen_test": weights != RANDOM or own_teacher != "" or dataset != tags[DIGEST],
    }


def _newest_rows(evaluated: Iterable[MlflowRun]) -> list[dict[str, Any]]:
    """Return a row for each split, dataset and test-time augmentation; `evaluated` has the newest first."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run in evaluated:
        split, tta = run.data.tags[SPLIT], run.data.params.get("tta", "none")
        rows.setdefault((split, tta, run.data.tags[DIGEST]), _row(split, split, run, tta))
    return list(rows.values())


def _row(split: str, prefix: str, run: MlflowRun, tta: str = "none") -> dict[str, Any]:
    found = run.data.metrics
    scores = {score: found.get(f"{prefix}_{score}", float("nan")) for score in SCORES}
    empty = int(found.get(f"{prefix}_classes_without_images", 0))
    missing = pluralize(empty, "class") if empty else ""
    ends = {end: found.get(f"{prefix}_top1_ci95_{end}") for end in ("low", "high")}
    known = {"split": split, "tta": tta, "dataset": run.data.tags[DIGEST][:12], "run": run.info.run_id}
    return {**known, **scores, **ends, "missing": missing}


def _format_count(run: MlflowRun, metric: str) -> str:
    value = run.data.metrics.get(metric)
    return "?" if value is None else f"{value:.0f}"
