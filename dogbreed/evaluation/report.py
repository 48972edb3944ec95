"""The report of an evaluation: one self-contained HTML page."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageOps

from dogbreed.core.text import pluralize
from dogbreed.data.class_names import are_from_imagenet
from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import calibration, metrics, predictions
from dogbreed.evaluation.intervals import RESAMPLES
from dogbreed.evaluation.result import EvalResult, EvalTarget, TrainingLineage
from dogbreed.evaluation.score_groups import Scores
from dogbreed.models import stats

FIGURE_SCALE = 2 / 3  # of the size in MLflow: the names of 120 classes are still readable
SCORES = {"top1": "Top-1", "top5": "Top-5", "macro_f1": "Macro F1", "loss": "Log loss"}
BOX = "bounding box with a margin of {:.0%}"
CROPS = {"box": BOX, "defer": f"{BOX}, cropped when images are read", "none": "none, whole images"}
RECIPE = {  # parameters of a training's run -> their row in the report
    "name": "recipe",
    "model": "model",
    "size": "input size, px",
    "resize_mode": "resize mode",
    "weights": "initial weights",
    "distillation.teacher": "teacher",
    "head.epochs": "epochs of the head only",
    "trainable_fraction": "trainable fraction of the backbone",
    "epochs": "maximum epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "label_smoothing": "label smoothing",
    "dropout": "dropout",
    "policy": "precision",
    "seed": "seed",
}

Rows = list[tuple[str, str]]  # name and value


def to_data_uri(figure: Image.Image) -> str:
    """Return a figure at a smaller scale as a data URI (RFC 2397)."""
    ImageOps.scale(figure, FIGURE_SCALE).save(data := BytesIO(), format="webp", quality=80)
    return _data_uri("webp", data.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def render(
    run_id: str, target: EvalTarget, result: EvalResult, lineage: TrainingLineage | None, figures: Mapping[str, str]
) -> str:
    """Return the page; `figures` has the data URI of each figure of the evaluation."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"pluralize": pluralize, "percent": _format_percent, "duration": _format_duration}
    curves = _data_uri("png", lineage.learning_curves) if lineage and lineage.learning_curves else None
    return environment.get_template("report.html").render(
        run_id=run_id,
        created=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
        target=target,
        result=result,
        lineage=lineage,
        figures={**figures, "learning_curves": curves},
        tiles=_score_tiles(result),
        weak=result.describe_baseline(),
        missing_classes=result.predictions.missing_classes(target.split),
        comparison_rows=_comparison_rows(result),
        imagenet=are_from_imagenet(target.manifest.classes),
        data=_data_rows(target, result.predictions.has_boxes),
        recipe=_recipe_rows(lineage),
        cost=_cost_rows(target.model, result, lineage),
        **_tables(result),
    )


def note(result: EvalResult, split: str, lineage: TrainingLineage | None) -> str:
    """Return the description of the run, Markdown."""
    scores = ", ".join(f"**{tile['title']} {tile['value']}** ({tile['range']})" for tile in _score_tiles(result)[:3])
    found = result.predictions
    images = f"{pluralize(len(found.labels), 'image')} of {pluralize(len(found.classes), 'class')}"
    weights = lineage.weights if lineage else "none"
    caveat = ""
    if weights != "none":
        caveat = f"\n\nThe initial weights ({weights}) may have been trained on some of these images."
    if weak := result.describe_baseline():
        caveat += f"\n\nThe {weak}."
    if missing := found.missing_classes(split):
        caveat += f"\n\n{missing}."
    return f"{scores} on {images}.{caveat}\n\nThe full report is the artifact `report.html`."


def _format_percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _format_duration(seconds: float) -> str:
    """Return seconds as `48 s`, `4.5 min` or `2.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _format_score(name: str, value: float) -> str:
    return f"{value:.3f}" if name in ("loss", "macro_f1") else _format_percent(value)


def _score_tiles(result: EvalResult) -> list[dict[str, str]]:
    """Return each score with its confidence interval, then the calibration error."""
    tiles = []
    for name, title in SCORES.items():
        ends = [_format_score(name, end) for end in result.intervals.get(name, ())]
        interval = " to ".join(ends) or "no interval of one image"
        tiles.append({"title": title, "value": _format_score(name, result.scores[name]), "range": interval})
    error = _format_percent(result.calibration_error)
    return [*tiles, {"title": "Calibration error", "value": error, "range": f"{calibration.BINS} bins"}]


def _comparison_rows(result: EvalResult) -> list[dict[str, Any]]:
    """Return the rows of the score table: this model, the other crop, subsets and baselines."""
    count = len(result.predictions.labels)
    rows: list[tuple[str, Scores, int]] = [("this model", result.scores, count)]
    if result.comparison:
        rows.append((f"this model on {result.comparison.name}", result.comparison.scores, result.comparison.images))
    for group, scores in {**result.subsets, **result.baselines}.items():
        rows.append((group.description, scores, int(scores.get("images", count))))
    return [
        {"name": name, "top1": scores.get("top1"), "top5": scores.get("top5"), "images": images}
        for name, scores, images in rows
    ]


def _data_rows(target: EvalTarget, has_boxes: bool) -> Rows:
    manifest, view = target.manifest, target.pipeline.view
    config = manifest.config
    crop = CROPS[config["crop"] if has_boxes else "none"].format(config["margin"])
    images = ", ".join(f"{part.num_images:,} {name}" for name, part in manifest.splits.items())
    excluded = ", ".join(f"{count:,} {reason}" for reason, count in manifest.excluded.items())
    return [
        ("evaluated on", f"{pluralize(manifest.split(target.split).num_images, 'image')} of the {target.split} split"),
        ("images", images),
        ("classes", str(len(manifest.classes))),
        ("split", f"{config['split']}; validation is sampled from train"),
        ("crop", crop),
        ("stored size", f"shorter side {config['size']} px"),
        ("zoom", "none" if view.zoom == 1 else f"{view.zoom}: the centre {view.size} px of {view.outer_size} px"),
        ("excluded", excluded or "none"),
        ("quarantined", f"{pluralize(len(manifest.quarantine), 'image')} that could not be used"),
        ("duplicates", _count_duplicates(manifest)),
        ("name", manifest.name),
        ("digest", manifest.digest),
    ]


def _count_duplicates(manifest: Manifest) -> str:
    found = manifest.duplicates
    if found is None:
        return "none in the whole dataset"
    divided = f", {found.divided:,} of them divided among splits" if found.divided else ""
    return f"{sum(found.members.values()):,} in {found.groups:,} groups in the whole dataset{divided}"


def _recipe_rows(lineage: TrainingLineage | None) -> Rows:
    if lineage is None:
        return []
    params = lineage.params
    rows = [(title, params[name]) for name, title in RECIPE.items() if name in params]
    augment = [f"{name.removeprefix('augment.')} {value}" for name, value in params.items() if "augment." in name]
    return [*rows, ("augmentation", ", ".join(augment)), ("training run", lineage.run_id)]


def _cost_rows(model: keras.Model, result: EvalResult, lineage: TrainingLineage | None) -> Rows:
    rows = [
        ("parameters", f"{model.count_params():,}"),
        ("multiply-adds per image", f"{stats.macs(model) / 1e6:,.1f} million"),
        ("this evaluation", f"{result.images_per_second:,.0f} images/s"),
    ]
    logged = lineage.metrics if lineage else {}
    forms = {
        "train_seconds": ("training time", _format_duration),
        "gpu_hours": ("GPU hours", "{:.3f}".format),
        "cpu_hours": ("CPU core hours", "{:.3f}".format),
        "peak_rss_mb": ("peak memory", "{:,.0f} MB".format),
        "epochs": ("epochs", "{:.0f}".format),
        "best_epoch": ("best epoch", "{:.0f}".format),
    }
    return [*((title, form(logged[name])) for name, (title, form) in forms.items() if name in logged), *rows]


def _tables(result: EvalResult) -> dict[str, Any]:
    """Return the classes, the lowest F1 first, the most confused pairs, and the accuracy at high confidence."""
    found = result.predictions
    classes = metrics.per_class(found.labels, found.probabilities, found.classes).sort_values(["f1", "class"])
    pairs = predictions.confusable_pairs(found).head(20)
    confident = found.correct[found.confidence >= 0.9]
    return {
        "classes": classes.to_dict("records"),
        "pairs": pairs.to_dict("records"),
        "resamples": RESAMPLES,
        "bins": calibration.BINS,
        "confident": {"images": len(confident), "accuracy": float(confident.mean())} if len(confident) else None,
    }
