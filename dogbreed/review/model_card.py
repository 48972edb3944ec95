"""The model card: what a registered version is, how good, and what it must not be used for, from what MLflow knows."""

import re
from collections.abc import Iterable, Iterator

import mlflow

from dogbreed.review import tracking
from dogbreed.review.server import spared
from dogbreed.review.tracking import DIGEST, MODEL

FILE = "model_card.md"
SCORES = ("top1", "top5", "macro_f1")
RANDOM = "none"  # weights that a training without --weights begins with

# Mitchell et al. 2019, arXiv:1810.03993: what it is, data, how good, limits, licence.
TEMPLATE = """# {name}, version {version}: the breed of a dog on a photo

Recipe `{recipe}` (model {model} at {size} px), seed {seed}, begun with {weights}, trained for {epochs} epochs, epoch
{best_epoch} kept, in run `{run}`.

Input: a column `image` of JPEG or PNG photos, as bytes or base64 text. Output: breed, WordNet id, probability, the best
five, or why a photo cannot be used.

## Data

Dataset `{digest}`: {data}.

## How good

{table}

The kept epoch was chosen on validation, so validation flatters. An interval says what other photos of the same kind
would have given; another seed of the training is not in it.

## Limits

- It names one of the breeds that it has learnt, whatever is on the photo: another breed, a mixed breed, a cat.
- It has learnt {learnt}; nobody crops the photos that it is served. Dogs that fill little of a photo are recognised
  less often than the table says.
- {seen}
- A probability is the model's own; whether one of 80 % is right in 80 of 100 cases is what calibration tells.

## Licence

Stanford Dogs' photos come from ImageNet: research and education only, no right to redistribute them. Photos of your
own keep the licence that they have. The code is under the Apache License 2.0.
"""
BOXES = "dogs that were cropped by a box drawn by hand, with a margin of {margin} box sides"
PRETRAINED = "Its first weights may have been learnt on the photos that it was tested with: the table is optimistic."
SCRATCH = "It has seen no photos but those of the dataset's train split."


def describe(model: str) -> None:
    """Write the card of models:/dogbreed/VERSION as its description and into its run; any failure is a warning.

    Another kind of URI has no card. Doing it again with more evaluations adds their scores.
    """
    match = re.fullmatch(rf"models:/{MODEL}/(\d+)", model)
    if match is None:
        return
    with spared("the model card"):
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
        experiment_ids=[tracking.experiment("evaluate")], filter_string=finished, output_format="list"
    )


def text(version: str, trained: mlflow.entities.Run, evaluated: Iterable[mlflow.entities.Run]) -> str:
    """Return the card in Markdown."""
    params, digest = trained.data.params, trained.data.tags[DIGEST]
    begun = params.get("weights", RANDOM)
    data = {name.removeprefix("data."): value for name, value in params.items() if name.startswith("data.")}
    boxes = data.get("crop", "box") != "none"
    return TEMPLATE.format(
        name=MODEL,
        version=version,
        recipe=params["name"],
        model=params["model"],
        size=params["size"],
        seed=params["seed"],
        weights="random weights" if begun == RANDOM else f"`{begun}`",
        epochs=_whole(trained, "epochs"),
        best_epoch=_whole(trained, "best_epoch"),
        run=trained.info.run_id,
        digest=digest,
        data=", ".join(f"{name} {value}" for name, value in data.items() if value not in ("None", "[]", "False")),
        table="\n".join(_table(trained, evaluated)),
        learnt=BOXES.format(margin=data.get("margin", "0")) if boxes else "whole photos",
        seen=SCRATCH if begun == RANDOM else PRETRAINED,
    )


def _table(trained: mlflow.entities.Run, evaluated: Iterable[mlflow.entities.Run]) -> Iterator[str]:
    yield "| split | dataset | top-1 | 95 % interval | top-5 | macro F1 | run |"
    yield "|---|---|---|---|---|---|---|"
    yield _row("validation", "best_val", trained)
    told = set()
    for run in evaluated:  # of two alike the newer
        split, flip = run.data.tags["dogbreed.split"], run.data.params.get("flip") == "True"
        alike = (split, flip, run.data.tags[DIGEST])
        if alike not in told:
            told.add(alike)
            yield _row(f"{split}, with mirror images" if flip else split, split, run)


def _row(name: str, prefix: str, run: mlflow.entities.Run) -> str:
    found = run.data.metrics
    low, high = (found.get(f"{prefix}_top1_{end}") for end in ("low", "high"))
    between = "" if low is None or high is None else f"{low:.1%} to {high:.1%}"
    top1, top5, f1 = (found.get(f"{prefix}_{score}", float("nan")) for score in SCORES)
    dataset, run_id = run.data.tags[DIGEST][:12], run.info.run_id
    return f"| {name} | `{dataset}` | {top1:.1%} | {between} | {top5:.1%} | {f1:.3f} | `{run_id}` |"


def _whole(run: mlflow.entities.Run, metric: str) -> str:
    value = run.data.metrics.get(metric)
    return "?" if value is None else f"{value:.0f}"
