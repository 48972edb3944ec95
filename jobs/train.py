"""Train a recipe on a preprocessed dataset and register the model."""

import dataclasses
import hashlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dogbreed.platform.log import configure, progress
from dogbreed.platform.storage import Store, open_store
from jobs._cli import SEED, alone, gpus_option, job, name_of_job, uri

if TYPE_CHECKING:
    from dogbreed.data.dataset import Manifest
    from dogbreed.training.recipe import Recipe
    from dogbreed.training.zoo.weights import Weights

CLASSES = 120  # for which --list-models counts: the breeds of Stanford Dogs

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Work:
    """What trainings of several seeds share."""

    recipe: "Recipe"
    begin: "Weights | None"
    manifest: "Manifest"
    store: Store
    scratch: Path
    fresh: bool


def _seeds(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Read seeds separated by commas."""
    seeds = tuple(int(SEED(seed, option, context)) for seed in text.split(",")) if text else ()
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{text} names a seed twice")
    return seeds


@job("train")
@uri("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--recipe", required=True, help="Named recipe, for example simple-64 or larger-128.")
@click.option("--name", callback=name_of_job, help="Job key.  [default: hash of recipe, weights, data, seed]")
@click.option("--epochs", type=int, help="Passes over the train photos.  [default: the recipe's]")
@click.option("--batch-size", type=int, help="Photos a step.  [default: the recipe's]")
@click.option(
    "--precision",
    metavar="NAME",
    help="auto (mixed_float16 on a GPU, float32 on a CPU), float32, mixed_bfloat16 or mixed_float16."
    "  [default: the recipe's]",
)
@click.option("--seed", type=SEED, default=0, help="Seed of weights, order and augmentation.")
@click.option(
    "--seeds", metavar="LIST", callback=_seeds, help="Train once with each, for example 0,1,2; gives mean and range."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    envvar="DOGBREED_TRAIN_SET",
    help="Change any field of the recipe; in the variable, settings are separated by spaces.",
)
@click.option(
    "--cache",
    metavar="NAME",
    help="none, or decoded: keep decoded photos in memory and cut random views from them.  [default: the recipe's]",
)
@click.option(
    "--weights",
    metavar="none|imagenet|URI",
    help="What the model begins with; other than none, a new head is trained on it and then its upper part. URI: a "
    "folder or prefix with MODEL.weights.h5 (jobs.fetch --weights), a file .h5 or .keras, models:/... or runs:/...  "
    "[default: the recipe's, none]",
)
@gpus_option
@click.option("--deterministic", is_flag=True, help="Bit-for-bit repeatable, slower.")
@click.option("--fresh", is_flag=True, help="Train again although this job key is done.")
@click.option(
    "--list-models",
    is_flag=True,
    is_eager=True,
    callback=alone,
    help="Only show every model that a recipe can name, its parameters, multiply-adds and source (minutes).",
)
def main(**options: Any) -> dict[str, Any]:
    """Train a recipe on a preprocessed dataset and register the model as `candidate`."""
    if options["list_models"]:
        return _list_models()
    import tensorflow as tf

    from dogbreed.data.dataset import load_manifest
    from dogbreed.review import preflight, results, server, tracking
    from dogbreed.training.recipe import job_key, override
    from dogbreed.training.recipes import begun

    if options["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    store, seeds = open_store(options["data"]), options["seeds"] or (options["seed"],)
    recipe = override(begun(options["recipe"], options["weights"]), _settings(options))
    manifest = load_manifest(store)
    preflight.before_job(store, gpus=options["gpus"], tracked=False)
    server.check_server()
    with tempfile.TemporaryDirectory(prefix="dogbreed-") as scratch:
        begin = results.bring_weights(recipe, Path(scratch))
        contents = [job_key(recipe, begin.sha256 if begin else "", manifest.digest, seed) for seed in seeds]
        work = Work(recipe, begin, manifest, store, Path(scratch), options["fresh"])
        if options["seeds"]:
            summary = _train_all(work, dict(zip(seeds, contents, strict=True)), options["name"])
        else:
            summary = _train(work, options["seed"], contents[0], options["name"] or contents[0])
    tracking.set_candidate(summary["model_version"])  # also when it was done: another may have been the last one
    return summary


def _train(work: "Work", seed: int, content: str, key: str) -> dict[str, Any]:
    """Train with one seed, unless that is done, and return the summary."""
    from dogbreed.data.pipeline import InputPipeline
    from dogbreed.data.split import VALIDATION
    from dogbreed.review import classifier, results, tracking
    from dogbreed.training import trainer
    from dogbreed.training.prediction import predict

    configure(f"train {key}")
    recipe, manifest = work.recipe, work.manifest
    done = tracking.finished_training(key, content)
    if done and not work.fresh:
        log.info("done already in run %s; --fresh trains again", done.info.run_id)
        return results.of_training(done)
    computed = {"policy": trainer.policy(recipe.precision), "seed": seed}
    params = {**dataclasses.asdict(recipe), **computed, "data": manifest.options}
    tags = {tracking.JOB_KEY: key, tracking.CONTENT: content}
    if work.begin:
        tags["dogbreed.begun_with_sha256"] = work.begin.sha256
    with tracking.run("train", f"{recipe.name}-{key[:8]}", params, tags, machine=True) as run:
        tracking.log_input(manifest, work.store, "training")
        pipeline = InputPipeline(manifest, work.store, recipe.view, recipe.batch_size, work.scratch)
        trained = trainer.train(recipe, manifest, pipeline, seed, run, work.begin)
        card = classifier.Card(manifest.classes, recipe.size, recipe.shape, manifest.digest)
        results.register(trained, card, pipeline.example())  # first: pictures may be lost, a model not
        results.log_training(run, trained, predict(trained.model, pipeline, VALIDATION), manifest)
    return results.of_training(tracking.get(run.id))


def _train_all(work: "Work", contents: dict[int, str], name: str | None) -> dict[str, Any]:
    """Train with each seed in a run of its own, below one with their mean and range; the best is the candidate."""
    import keras

    from dogbreed.review import results, tracking

    content = hashlib.sha256(" ".join(contents.values()).encode()).hexdigest()[:16]
    key = name or content
    done = tracking.finished_training(key, content)
    if done and not work.fresh:
        log.info("done already in run %s; --fresh trains again", done.info.run_id)
        return results.of_seeds(done)
    tags = {tracking.JOB_KEY: key, tracking.CONTENT: content}
    params = {**dataclasses.asdict(work.recipe), "seeds": list(contents), "data": work.manifest.options}
    with tracking.run("train", f"{work.recipe.name}-{len(contents)}-seeds", params, tags) as run:
        summaries = []
        for seed, own in contents.items():
            keras.utils.clear_session()  # the model before this one is in MLflow
            summaries.append(_train(work, seed, own, f"{name}-{seed}" if name else own))
        configure(f"train {key}")
        results.log_seeds(run, summaries)
    return results.of_seeds(tracking.get(run.id))


def _list_models() -> dict[str, Any]:
    """Print the table of models at 120 classes and return its numbers."""
    from rich.console import Console

    from dogbreed.training import zoo
    from dogbreed.training.zoo import inventory

    counted = (inventory.measure(entry, CLASSES) for entry in zoo.ENTRIES)
    costs = list(progress(counted, "counted", len(zoo.ENTRIES), unit="model"))
    Console(width=None if sys.stdout.isatty() else 140).print(inventory.table(costs, CLASSES))
    return {"models": inventory.summary(costs)}


def _settings(options: dict[str, Any]) -> list[str]:
    """Return --epochs, --batch-size, --precision and --cache as the settings that they abbreviate, then --set."""
    abbreviated = ("epochs", "batch_size", "precision", "cache")
    short = [f"{key}={options[key]}" for key in abbreviated if options[key] is not None]
    return [*short, *options["settings"]]


if __name__ == "__main__":
    main()
