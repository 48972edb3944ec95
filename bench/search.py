"""A searched recipe against the hand-made one: found on one half of the validation images, compared on the other.

`python -m bench.search --data FOLDER --out FOLDER -- --recipe simple-64 --space from-scratch --trials 24` runs the
suite's own jobs; started again it continues. What comes after `--` goes to jobs.search. Both recipes are trained with
three seeds that the search did not use, for the same number of epochs; the test split is not read.
"""

import itertools
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench.jobs import job
from dogbreed.core.storage import LocalStore
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import MANIFEST, Manifest, Shard, Split, load_manifest
from dogbreed.data.splits import TRAIN, VALIDATION
from dogbreed.evaluation.intervals import mean_interval
from dogbreed.evaluation.predict import predict
from dogbreed.serving import model_files
from dogbreed.tracking import registry

SEEDS = (1, 2, 3)  # the search takes 0
EPOCHS = ("epochs", "head.epochs")  # fields in which the hand-made recipe follows the searched one

Correct = npt.NDArray[np.float64]  # [images]: share of the seeds whose model named the breed


def write_halves(data: Path, home: Path) -> tuple[Path, Path]:
    """Write two datasets with the same train images and one half of the validation shards each; links, no copies."""
    manifest = load_manifest(LocalStore(data))
    shards = manifest.split(VALIDATION).shards
    if len(shards) < 2:
        raise click.UsageError("the validation split has one shard; preprocess with more --shards")
    halves = {"select": shards[::2], "compare": shards[1::2]}
    for name, half in halves.items():
        _write(replace(manifest, duplicates=None, splits=_splits(manifest, half)), data, home / name)
    return home / "select", home / "compare"


def _splits(manifest: Manifest, half: tuple[Shard, ...]) -> dict[str, Split]:
    return {TRAIN: manifest.split(TRAIN), VALIDATION: Split(sum(shard.num_examples for shard in half), half)}


def _write(manifest: Manifest, data: Path, folder: Path) -> None:
    for shard in (shard for split in manifest.splits.values() for shard in split.shards):
        path = folder / shard.key
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.hardlink_to(data / shard.key)
    (folder / MANIFEST).write_bytes(manifest.to_json())


def train(data: Path, options: Sequence[str]) -> list[str]:
    """Train with each seed and return the models."""
    return [job("train", "--data", str(data), *options, "--seed", str(seed))["model_uri"] for seed in SEEDS]


def score(models: Sequence[str], data: Path) -> Correct:
    """Return for each validation image the share of the models that name its breed."""
    store = LocalStore(data)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for uri in models:
            model, metadata = model_files.load(registry.download(uri, Path(folder) / uri.replace("/", "-")))
            pipeline = InputPipeline(load_manifest(store), store, metadata.view, 64, Path(folder))
            labels, probabilities, _ = predict(model, pipeline, VALIDATION)
            found.append(probabilities.argmax(axis=1) == labels)
    return np.asarray(np.mean(found, axis=0))


def same_epochs(searched: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the options of a search that a training takes, with the epochs of the recipe that was found."""
    shared = [part for name in ("--recipe", "--weights", "--set") for part in _values(name, options)]
    same = (*EPOCHS, "trainable_fraction")
    epochs = [setting for setting in searched if setting.partition("=")[0] in same and setting not in shared]
    return [*shared, *(part for setting in epochs for part in ("--set", setting))]


def _values(name: str, options: Sequence[str]) -> list[str]:
    return [part for pair in itertools.pairwise(options) if pair[0] == name for part in pair]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Dataset of jobs.preprocess.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for datasets and runs.")
@click.argument("options", nargs=-1, required=True)
def main(data: Path, out: Path, options: tuple[str, ...]) -> None:
    """Search, train both recipes, and print what each scores and the gain with its paired interval."""
    if {"--seed", "--repeat-best"} & set(options):
        raise click.UsageError(f"the seeds {SEEDS} are for the comparison; leave out --seed and --repeat-best")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{out.absolute()}/mlflow.db")
    out.mkdir(parents=True, exist_ok=True)
    select, compare = write_halves(data, out)
    found = job("search", "--data", str(select), *options)
    searched = shlex.split(found["command"])[5:]  # after python -m jobs.train --data DATA
    by_hand = same_epochs(_values("--set", searched)[1::2], options)
    scores = [score(train(select, chosen), compare) for chosen in (by_hand, searched)]
    show(found, [" ".join(by_hand), " ".join(searched)], scores)


def show(found: dict[str, float], recipes: Sequence[str], scores: Sequence[Correct]) -> None:
    """Print the table and the gain."""
    console = Console(width=110)
    images = len(scores[0])
    table = Table("", "options of jobs.train", "top-1", title=f"Top-1 on {images} validation images, mean of 3 seeds")
    for name, recipe, correct in zip(("by hand", "searched"), recipes, scores, strict=True):
        table.add_row(name, recipe, f"{correct.mean():.1%}")
    console.print(table)
    gain = scores[1] - scores[0]
    low, high = mean_interval(gain)
    is_gain = "above 0" if low > 0 else "not above 0"
    console.print(
        f"gain {100 * gain.mean():.1f} points, 95 % interval {100 * low:.1f} to {100 * high:.1f}: {is_gain}; "
        f"{found['complete']} trials complete, {found['pruned']} pruned, {found['hours']:.2f} core-hours of trials"
    )


if __name__ == "__main__":
    main()
