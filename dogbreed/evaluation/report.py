"""One HTML page about an evaluation: everything inside, so that it opens without a network, on a phone too."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageOps

from dogbreed.data.manifest import Manifest
from dogbreed.evaluation import calibration, metrics, predictions
from dogbreed.evaluation.intervals import RESAMPLES
from dogbreed.evaluation.result import EvalResult, EvalTarget
from dogbreed.models import stats
from dogbreed.tracking.lineage import TrainingLineage

IN_REPORT = 2 / 3  # of the size in MLflow: the names of 120 breeds can still be read
SCORES = {"top1": "Top-1", "top5": "Top-5", "macro_f1": "Macro F1", "loss": "Log loss"}
BOX = "the dog's box with {:.0%} around it"
CROPS = {"box": BOX, "defer": f"{BOX}, cut out of the whole photo late", "none": "the whole photo"}
RECIPE = {  # parameters of a training's run, and what they are called here
    "name": "recipe",
    "model": "model",
    "size": "side of the square, px",
    "resize_mode": "an image becomes one by",
    "weights": "began with",
    "head.epochs": "epochs of the head alone",
    "trainable_fraction": "fraction of the body that learns",
    "epochs": "epochs at most",
    "batch_size": "photos a step",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "label_smoothing": "label smoothing",
    "dropout": "dropout",
    "policy": "precision",
    "seed": "seed",
}

Rows = list[tuple[str, str]]  # what, and what it is


def to_data_uri(picture: Image.Image) -> str:
    """Return a picture, made smaller, as the value of an image's `src` (RFC 2397)."""
    ImageOps.scale(picture, IN_REPORT).save(data := BytesIO(), format="webp", quality=80)
    return _uri("webp", data.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def render(
    run_id: str, target: EvalTarget, found: EvalResult, lineage: TrainingLineage | None, pictures: Mapping[str, str]
) -> str:
    """Return the page; `pictures` has the data URI of each of the evaluation's pictures."""
    here = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    here.filters |= {"share": _format_percent, "duration": _format_duration}
    curves = _uri("png", lineage.curves) if lineage and lineage.curves else None
    return here.get_template("report.html").render(
        run_id=run_id,
        made=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
        target=target,
        found=found,
        lineage=lineage,
        pictures={**pictures, "learning_curves": curves},
        cards=_score_tiles(found),
        ladder=_comparison_rows(found),
        data=_data(target.manifest, target.split),
        recipe=_recipe(lineage),
        cost=_cost(target.model, found, lineage),
        **_tables(found),
    )


def note(found: EvalResult, lineage: TrainingLineage | None) -> str:
    """Return the description of the run, Markdown: what MLflow shows of it first."""
    words = ", ".join(f"**{card['title']} {card['value']}** ({card['range']})" for card in _score_tiles(found)[:3])
    photos = f"{len(found.predictions.labels):,} photos of {len(found.predictions.classes)} breeds"
    begun = lineage.weights if lineage else "none"
    caveat = "" if begun == "none" else f"\n\nThe training began with {begun}, which may have seen these photos."
    return f"{words} on {photos}.{caveat}\n\nAll on one page: `report.html` among the artifacts."


def _format_percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _format_duration(seconds: float) -> str:
    """Return seconds as `48 s`, `4.5 min` or `2.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _format_score(name: str, value: float) -> str:
    return f"{value:.3f}" if name in ("loss", "macro_f1") else _format_percent(value)


def _score_tiles(found: EvalResult) -> list[dict[str, str]]:
    """Return the headline: each score with its interval, then the calibration error."""
    cards = []
    for name, title in SCORES.items():
        ends = [_format_score(name, end) for end in found.intervals.get(name, ())]
        cards.append({"title": title, "value": _format_score(name, found.scores[name]), "range": " to ".join(ends)})
    error = _format_percent(found.calibration_error)
    return [*cards, {"title": "Calibration error", "value": error, "range": f"{calibration.BINS} bins"}]


def _comparison_rows(found: EvalResult) -> list[dict[str, Any]]:
    """Return what top-1 is to be measured by: the floors, the same photos otherwise, the parts; this model first."""
    count = len(found.predictions.labels)
    rows = [("this model", found.scores, count)]
    if found.comparison:
        rows.append((f"this model on {found.comparison.name}", found.comparison.scores, found.comparison.photos))
    words = {
        "majority_baseline": "answering the most frequent breed every time",
        "imagenet_zero_shot": "ImageNet's own classifier, not trained here",
        "seen": "photos that the pretraining has seen",
        "unseen": "photos that it has not seen",
        "with_duplicate": "photos with a copy among those for training",
        "without_duplicate": "photos without such a copy",
    }
    for name, scores in {**found.subsets, **found.baselines}.items():
        rows.append((words[name], scores, int(scores.get("images", count))))
    return [
        {"name": name, "top1": scores.get("top1"), "top5": scores.get("top5"), "photos": photos}
        for name, scores, photos in rows
    ]


def _data(manifest: Manifest, split: str) -> Rows:
    options = manifest.config
    crop = CROPS[options["crop"]].format(options["margin"])
    photos = ", ".join(f"{part.num_images:,} {name}" for name, part in manifest.splits.items())
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in manifest.excluded.items())
    return [
        ("evaluated on", f"{manifest.split(split).num_images:,} photos of the {split} split"),
        ("photos", photos),
        ("breeds", str(len(manifest.classes))),
        ("split", f"{options['split']}; validation is carved from train"),
        ("a photo is", f"{crop}, shorter side {options['size']} px"),
        ("left out", f"{dropped or 'nothing'}; {len(manifest.quarantine):,} could not be used"),
        ("copies", f"{len(manifest.duplicates):,} pairs among all photos"),
        ("digest", manifest.digest),
    ]


def _recipe(lineage: TrainingLineage | None) -> Rows:
    if lineage is None:
        return []
    params = lineage.params
    rows = [(title, params[name]) for name, title in RECIPE.items() if name in params]
    augment = [f"{name.removeprefix('augment.')} {value}" for name, value in params.items() if "augment." in name]
    return [*rows, ("augmentation", ", ".join(augment)), ("run of the training", lineage.run_id)]


def _cost(model: keras.Model, found: EvalResult, lineage: TrainingLineage | None) -> Rows:
    rows = [
        ("parameters", f"{model.count_params():,}"),
        ("multiply-adds a photo", f"{stats.macs(model) / 1e6:,.1f} million"),
        ("this evaluation", f"{found.images_per_second:,.0f} photos/s"),
    ]
    logged = lineage.metrics if lineage else {}
    forms = {
        "train_seconds": ("training", _format_duration),
        "gpu_hours": ("GPU hours", "{:.3f}".format),
        "cpu_hours": ("CPU core hours", "{:.3f}".format),
        "peak_rss_mb": ("memory at its peak", "{:,.0f} MB".format),
        "epochs": ("epochs", "{:.0f}".format),
        "best_epoch": ("best epoch", "{:.0f}".format),
    }
    return [*((title, form(logged[name])) for name, (title, form) in forms.items() if name in logged), *rows]


def _tables(found: EvalResult) -> dict[str, Any]:
    """Return the breeds, the worst first, and the pairs that are confused most."""
    preds = found.predictions
    breeds = metrics.per_class(preds.labels, preds.probabilities, preds.classes).sort_values(["f1", "breed"])
    pairs = predictions.confusable_pairs(preds).head(20)
    sure = preds.hits[preds.confidence >= 0.9]
    return {
        "breeds": breeds.to_dict("records"),
        "pairs": pairs.to_dict("records"),
        "resamples": RESAMPLES,
        "bins": calibration.BINS,
        "very_sure": {"photos": len(sure), "right": float(sure.mean())} if len(sure) else None,
    }
