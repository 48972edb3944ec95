"""Train a recipe on a preprocessed dataset and register the model."""

import dataclasses
import logging
import resource
import tempfile
from pathlib import Path
from typing import Any

import click

from dogbreed.platform.storage import open_store
from jobs._cli import job, uri

log = logging.getLogger(__name__)


@job("train")
@uri("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--recipe", required=True, help="Named recipe, for example simple-64 or larger-128.")
@click.option("--name", help="Job key.  [default: hash of recipe, data, seed and format]")
@click.option("--epochs", type=int, help="Passes over the train photos.  [default: the recipe's]")
@click.option("--batch-size", type=int, help="Photos a step.  [default: the recipe's]")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "mixed_bfloat16", "mixed_float16"]),
    help="Of the computation; auto is mixed_float16 on a GPU and float32 on a CPU.  [default: the recipe's]",
)
@click.option("--seed", type=int, default=0, help="Seed of weights, order and augmentation.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change any field of the recipe.")
@click.option("--deterministic", is_flag=True, help="Bit-for-bit repeatable, slower.")
@click.option("--fresh", is_flag=True, help="Train again although this job key is done.")
def main(**options: Any) -> dict[str, Any]:
    """Train a recipe on a preprocessed dataset and register the model as `candidate`."""
    import mlflow
    import tensorflow as tf

    from dogbreed.data.dataset import load_manifest
    from dogbreed.data.pipeline import InputPipeline
    from dogbreed.data.split import VALIDATION
    from dogbreed.review import classifier, results, tracking
    from dogbreed.training import recipe as recipes
    from dogbreed.training import trainer

    if options["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    store = open_store(options["data"])
    recipe = recipes.override(recipes.named(options["recipe"]), _settings(options))
    manifest = load_manifest(store)
    key = options["name"] or recipes.job_key(recipe, manifest.digest, options["seed"])
    tracking.check_server()
    done = tracking.finished_run("train", tracking.JOB_KEY, key)
    if done and not options["fresh"]:
        log.info("job %s is done already (run %s); --fresh trains again", key, done.info.run_id)
        return results.of_training(done)
    params = {**dataclasses.asdict(recipe), "seed": options["seed"], "data": manifest.options}
    with (
        tempfile.TemporaryDirectory(prefix="dogbreed-") as cache,
        tracking.run("train", f"{recipe.name}-{key[:8]}", params, {tracking.JOB_KEY: key}) as run,
    ):
        tracking.log_input(manifest, store, "training")
        pipeline = InputPipeline(manifest, store, recipe.view, recipe.batch_size, Path(cache))
        trained = trainer.train(recipe, manifest, pipeline, options["seed"], run)
        results.log_training(run, trained, trainer.predict(trained.model, pipeline, VALIDATION), manifest)
        card = classifier.Card(manifest.classes, recipe.size, recipe.shape, manifest.digest)
        info = classifier.log_model(trained.model, card, pipeline.example(), tracking.MODEL, "candidate")
        mlflow.log_metric("peak_rss_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        mlflow.set_tags({"dogbreed.model_uri": info.model_uri, "dogbreed.model_version": info.registered_model_version})
    return results.of_training(mlflow.get_run(run.id))


def _settings(options: dict[str, Any]) -> list[str]:
    """Return --epochs, --batch-size and --precision as the settings that they abbreviate, then --set."""
    short = [f"{key}={options[key]}" for key in ("epochs", "batch_size", "precision") if options[key] is not None]
    return [*short, *options["settings"]]


if __name__ == "__main__":
    main()
