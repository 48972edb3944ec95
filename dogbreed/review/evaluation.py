"""An evaluation, from a model's answers to everything that its run in MLflow holds."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from dogbreed.data.dataset import Manifest, load_manifest
from dogbreed.data.pipeline import InputPipeline
from dogbreed.data.view import View
from dogbreed.platform.errors import DataContradiction
from dogbreed.platform.storage import Store, open_store
from dogbreed.review import answers, calibration, explain, findings, intervals, metrics, report
from dogbreed.review.answers import Places
from dogbreed.review.classifier import ModelMetadata
from dogbreed.review.figures import bars, confusion, photos
from dogbreed.review.figures.calibration import reliability_diagram
from dogbreed.review.findings import Findings, Subject
from dogbreed.review.origin import Origin
from dogbreed.review.style import drawn
from dogbreed.review.tracking import Run
from dogbreed.training.zoo import imagenet

WHOLE = "whole"  # --compare-with: the whole photos of a dataset that was made with --crop defer
SHOWN = 24  # photos a sheet
EXPLAINED = 8  # right ones, and as many wrong ones
PAIRS = 8


def against(
    uri: str | None, manifest: Manifest, store: Store, view: View, batch: int, cache: Path
) -> tuple[str, InputPipeline] | None:
    """Return the batches of another dataset, or of this one's whole photos, with what people call them.

    DataContradiction where there are no whole photos, or other breeds.
    """
    if uri is None:
        return None
    if uri == WHOLE:
        if manifest.config["crop"] != "defer":
            raise DataContradiction(
                "the dataset holds crops, not whole photos; give --compare-with a dataset made with --crop none, "
                "or evaluate on one made with --crop defer"
            )
        whole = dataclasses.replace(manifest, config={**manifest.config, "crop": "none"})
        return "whole photos", InputPipeline(whole, store, view, batch, cache)
    other = open_store(uri)
    found = load_manifest(other)
    if found.classes != manifest.classes:
        raise DataContradiction(f"--compare-with {uri} has other classes than --data; preprocess the same ones")
    return uri, InputPipeline(found, other, view, batch, cache)


def untrained(head: str | None, model: str, card: ModelMetadata, scratch: Path) -> keras.Model | None:
    """Return the design of `model` with ImageNet's own head, as `imagenet.untrained` does; None without a head."""
    return imagenet.untrained(model, card.size, card.classes, head, scratch) if head else None


def measure(
    subject: Subject,
    names: frozenset[str] = frozenset(),
    floor: keras.Model | None = None,
    other: tuple[str, InputPipeline] | None = None,
) -> Findings:
    """Ask the model, and whatever stands beside it, for its answers and return what they come to.

    names: of photos that a pretraining may have seen; floor: a model to beat; other: the same photos, cropped
    otherwise, and what people call them.
    """
    began = time.monotonic()
    found = subject.ask()
    rate = len(found.labels) / (time.monotonic() - began)
    floors = {"majority_baseline": answers.majority(found.labels, len(found.classes))}
    if floor:
        said = subject.ask(model=floor)
        floors["imagenet_zero_shot"] = metrics.scores(said.labels, said.probabilities)
    return Findings(
        answers=found,
        scores=metrics.scores(found.labels, found.probabilities),
        intervals=intervals.of_scores(found.labels, found.probabilities),
        reliability=calibration.reliability(found.confidence, found.hits),
        floors=floors,
        parts=findings.parts(found, subject.manifest, names),
        against=findings.compare(found, subject.ask(pipeline=other[1]), other[0]) if other else None,
        images_per_second=rate,
    )


def leave(run: Run, subject: Subject, found: Findings, origin: Origin | None) -> None:
    """Give the run every metric, table and picture, and the report that holds them all."""
    split = subject.split
    scores = {f"{split}_{name}": value for name, value in found.flat()}
    run.log(0, {**scores, "images_per_second": found.images_per_second})
    tables = {
        "per_breed": metrics.per_breed(found.answers.labels, found.answers.probabilities, found.answers.classes),
        "predictions": answers.table(found.answers),
        "confusable_pairs": answers.confusable_pairs(found.answers),
        "by_box": answers.by_box(found.answers),
        "reliability": found.reliability,
    }
    for name, table in tables.items():
        run.text(f"tables/{name}_{split}.csv", table.to_csv(index=False))
    pictures = {}
    for name, figure in _pictures(subject, found):
        picture = drawn(figure)
        run.picture(f"{name}_{split}", picture)
        pictures[name] = report.embedded(picture)
    mlflow.set_tag(MLFLOW_RUN_NOTE, report.note(found, origin))
    run.text("report.html", report.render(run.id, subject, found, origin, pictures))


def _pictures(subject: Subject, found: Findings) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each picture, one at a time: a confusion matrix takes 40 MB."""
    said = found.answers
    table = metrics.per_breed(said.labels, said.probabilities, said.classes)
    yield "confusion_matrix", confusion.confusion_matrix(said.labels, said.probabilities, said.classes)
    yield "recall_by_breed", bars.recall_bars(table)
    yield "reliability", reliability_diagram(found.reliability)
    yield "by_box", bars.box_bars(answers.by_box(said), found.scores["top1"])
    hardest = said.hardest(SHOWN)
    title = f"The {len(hardest)} hardest of {len(said.labels):,} photos"
    yield "hardest_photos", _sheet(subject, found, hardest, title)
    mixed = photos.sample(said.labels, said.probabilities, SHOWN)
    right = int(said.hits[mixed].sum())
    title = f"{right} right, {len(mixed) - right} most confident errors, of {len(said.labels):,} photos"
    yield "sample_predictions", _sheet(subject, found, mixed, title)
    yield "confusable_pairs", _pairs(subject, found)
    yield "grad_cam", _evidence(subject, found)


def _sheet(subject: Subject, found: Findings, places: Places, title: str) -> Figure:
    said, images = found.answers, subject.pipeline.photos(subject.split, places)
    return photos.sheet(images, said.labels[places], said.probabilities[places], said.classes, title)


def _evidence(subject: Subject, found: Findings) -> Figure:
    said = found.answers
    places = photos.sample(said.labels, said.probabilities, 2 * EXPLAINED)
    images = subject.pipeline.photos(subject.split, places)
    maps = explain.grad_cam(subject.model, images, said.predicted[places])
    return photos.evidence(images, maps, said.labels[places], said.probabilities[places], said.classes)


def _pairs(subject: Subject, found: Findings) -> Figure:
    """Draw for each pair: a right one of the first breed, errors both ways, a right one of the other."""
    said = found.answers
    table = answers.confusable_pairs(said).head(PAIRS)
    rows = []
    for pair in table.to_dict("records"):
        a, b = int(pair["label"]), int(pair["other_label"])
        ways = ((a, a, 1), (a, b, 2), (b, a, 2), (b, b, 1))
        rows.append([place for label, other, count in ways for place in _first(said.mistaken(label, other), count)])
    places = np.unique([place for row in rows for place in row if place is not None]).astype(np.int64)
    position = {int(place): at for at, place in enumerate(places)}
    shown = [[None if place is None else position[place] for place in row] for row in rows]
    images = subject.pipeline.photos(subject.split, places)
    return photos.pairs(table, shown, images, said.labels[places], said.probabilities[places], said.classes)


def _first(places: Places, count: int) -> list[int | None]:
    """Return the first places, and None for each that is missing."""
    return [int(places[at]) if at < len(places) else None for at in range(count)]
