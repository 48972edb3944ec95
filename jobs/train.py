"""Train a recipe on a preprocessed dataset and register the model."""

import dataclasses
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from dogbreed.platform.log import configure, progress
from dogbreed.platform.storage import open_store
from jobs._cli import SEED, alone, gpus_option, job, name_of_job, uri

CLASSES = 120  # for which --list-models counts: the breeds of Stanford Dogs

log = logging.getLogger(__name__)


@job("train")
@uri("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--recipe", required=True, help="Named recipe, for example simple-64 or larger-128.")
@click.option("--name", callback=name_of_job, help="Job key.  [default: hash of recipe, data, seed and format]")
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
    from dogbreed.data.pipeline import InputPipeline
    from dogbreed.data.split import VALIDATION
    from dogbreed.review import classifier, preflight, results, server, tracking
    from dogbreed.training import recipe as recipes
    from dogbreed.training import trainer

    if options["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    store = open_store(options["data"])
    recipe = recipes.override(recipes.named(options["recipe"]), _settings(options))
    manifest = load_manifest(store)
    content = recipes.job_key(recipe, manifest.digest, options["seed"])
    key = options["name"] or content
    configure(f"train {key}")
    preflight.before_job(store, gpus=options["gpus"], tracked=False)
    server.check_server()
    done = tracking.finished_training(key, content)
    if done and not options["fresh"]:
        log.info("done already in run %s; --fresh trains again", done.info.run_id)
        summary = results.of_training(done)
        tracking.set_candidate(summary["model_version"])  # another training may have been the last one
        return summary
    computed = {"policy": trainer.policy(recipe.precision), "seed": options["seed"]}
    params = {**dataclasses.asdict(recipe), **computed, "data": manifest.options}
    tags = {tracking.JOB_KEY: key, tracking.CONTENT: content}
    with (
        tempfile.TemporaryDirectory(prefix="dogbreed-") as cache,
        tracking.run("train", f"{recipe.name}-{key[:8]}", params, tags) as run,
    ):
        tracking.log_input(manifest, store, "training")
        pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path(cache))
        trained = trainer.train(recipe, manifest, pipeline, options["seed"], run)
        card = classifier.Card(manifest.classes, recipe.size, recipe.shape, manifest.digest)
        version = results.register(trained, card, pipeline.example())  # first: pictures may be lost, a model not
        results.log_training(run, trained, trainer.predict(trained.model, pipeline, VALIDATION), manifest)
        tracking.set_candidate(version)
    return results.of_training(tracking.get(run.id))


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
