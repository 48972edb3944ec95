"""Train a recipe on a preprocessed dataset and register the model."""

from collections.abc import Mapping
from typing import Any

import click

from dogbreed.core.errors import WorkerLost
from jobs import _restart
from jobs._cli import (
    SEED,
    default_checkpoints,
    gpus_option,
    job,
    name_option,
    standalone_flag,
    uri_option,
    validate_name,
)

CLASSES = 120  # for which --list-models counts: the breeds of Stanford Dogs


def _seeds(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Read seeds separated by commas."""
    seeds = tuple(int(SEED(seed, option, context)) for seed in text.split(",")) if text else ()
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{text} names a seed twice")
    return seeds


@job("train")
@uri_option("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--recipe", required=True, help="Named recipe, for example simple-64 or larger-128.")
@click.option("--name", callback=validate_name, help="Job key.  [default: hash of recipe, weights, data, seed]")
@name_option("--registered-model", "Registered model that gets the version.  [default: the dataset's name]")
@name_option("--experiment-prefix", "MLflow's experiment is NAME/train.  [default: the dataset's name]")
@click.option("--epochs", type=int, help="Passes over the train images.  [default: the recipe's]")
@click.option("--batch-size", type=int, help="Images per step.  [default: the recipe's]")
@click.option(
    "--precision",
    metavar="NAME",
    help="auto (mixed_bfloat16 on a GPU, mixed_float16 before Ampere, float32 on a CPU), float32, mixed_bfloat16 or "
    "mixed_float16."
    "  [default: the recipe's]",
)
@click.option("--seed", type=SEED, default=0, help="Seed of weights, order and augmentation.")
@click.option(
    "--seeds", metavar="LIST", callback=_seeds, help="Train once per seed, for example 0,1,2; reports mean and range."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    envvar="DOGBREED_TRAIN_SET",
    help="Change any field of the recipe; in the environment variable, separate settings by spaces.",
)
@click.option(
    "--cache",
    metavar="NAME",
    help="none, memory or disk: keep decoded images in memory, or in a file of the scratch folder, and cut random "
    "crops from them.  [default: the recipe's]",
)
@click.option(
    "--weights",
    metavar="none|imagenet|URI",
    help="Initial weights. Anything but none fine-tunes: first a new head, then the upper part of the body. URI: a "
    "folder or prefix with MODEL.weights.h5 (jobs.fetch --weights), a file .h5 or .keras, models:/... or runs:/...  "
    "[default: the recipe's, none]",
)
@click.option(
    "--teacher",
    metavar="URI",
    help="A trained model with the same classes, whose probabilities the model learns instead of labels "
    "(distillation): models:/..., runs:/... or a folder.",
)
@gpus_option
@click.option(
    "--strategy",
    metavar="NAME",
    default="auto",
    help="single (one device), mirrored (all GPUs of this machine), multiworker (several processes, named by TF_CONFIG "
    "or DOGBREED_WORKERS), or auto: chosen from this machine and the environment.",
)
@click.option(
    "--max-restarts",
    metavar="NUMBER",
    type=click.IntRange(0),
    default=0,
    help="Highest number of restarts of this process, which then joins the others again, when another worker of its "
    "training is lost; after them it exits with 75.",
)
@click.option("--deterministic", is_flag=True, help="Bit-for-bit reproducible on a CPU; slower.")
@uri_option(
    "--checkpoints", "Folder of checkpoints, one subfolder per job key.  [default: checkpoints, beside the dataset]"
)
@click.option(
    "--checkpoint-every",
    default="1m",
    metavar="STEPS|TIME",
    help="Interval between checkpoints: steps (200) or time (90s, 5m, 1h). One is also written on SIGTERM and Ctrl-C.",
)
@click.option(
    "--log-every",
    metavar="STEPS",
    type=click.IntRange(0),
    default=0,
    help="Log step_loss, step_top1, step_top5 and step_learning_rate every so many steps; 0: epoch metrics only.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Trace steps 10 to 20 of the whole model with TensorFlow's profiler, into the run's artifacts (profile/).",
)
@click.option("--restart", is_flag=True, help="Start at step 0 even if this job key is finished or has checkpoints.")
@click.option(
    "--find-batch-size",
    is_flag=True,
    help="Find the largest batch of the recipe that fits into memory, by a few steps on random images, and exit.",
)
@click.option(
    "--list-models",
    is_flag=True,
    is_eager=True,
    callback=standalone_flag,
    help="Print all models that a recipe can name, with parameters, multiply-adds and source, and exit.",
)
def main(**options: Any) -> Mapping[str, object]:
    """Train a recipe on a preprocessed dataset and register the model as `candidate`."""
    if options["list_models"]:
        return _list_models()
    if options["find_batch_size"]:
        if options["teacher"]:
            raise click.UsageError("--find-batch-size takes its steps without a teacher; omit --teacher")
        return _find_batch_size(options)
    if options["restart"] and options["max_restarts"]:
        raise click.UsageError("--restart with --max-restarts would discard all progress at each restart; omit one")
    if options["max_restarts"]:
        _restart.count()  # a variable that is no number is an error now, not when a worker is lost
    try:
        return _train(options)
    except WorkerLost as error:
        _restart.restart(error, options["max_restarts"])


def _train(options: dict[str, Any]) -> Mapping[str, object]:
    """Prepare the job and train its seeds."""
    from dogbreed.workflows import train, train_job, train_seeds

    seeds, name = options["seeds"], options["name"]
    with train_job.prepare(
        data=options["data"],
        registered_model=options["registered_model"],
        experiment_prefix=options["experiment_prefix"],
        recipe=options["recipe"],
        initial_weights=options["weights"],
        settings=_settings(options),
        strategy=options["strategy"],
        gpus=options["gpus"],
        checkpoints=(options["checkpoints"] or default_checkpoints(options["data"])).rstrip("/"),
        checkpoint_every=options["checkpoint_every"],
        log_every=options["log_every"],
        profile=options["profile"],
        restart=options["restart"],
        deterministic=options["deterministic"],
        one_seed=not seeds,
        teacher=options["teacher"],
    ) as prepared:
        if seeds:
            return train_seeds.train_seeds(prepared, seeds, name)
        return train.train(prepared, options["seed"], name)


def _find_batch_size(options: dict[str, Any]) -> Mapping[str, object]:
    """Print the table of batch sizes that were tried and return it."""
    from dogbreed.workflows import find_batch_size

    names = ("data", "recipe", "weights", "strategy", "gpus")
    return find_batch_size.find(**{name: options[name] for name in names}, settings=_settings(options))


def _list_models() -> dict[str, Any]:
    """Print the table of models at 120 classes and return its numbers."""
    from dogbreed.models import stats_table
    from dogbreed.models.registry import MODELS

    specs = tuple(MODELS.values())
    click.echo("\n".join(stats_table.table_lines(specs, CLASSES)))
    return {"models": stats_table.summary(specs, CLASSES)}


def _settings(options: dict[str, Any]) -> list[str]:
    """Return --epochs, --batch-size, --precision and --cache as settings, then those of --set."""
    own_options = ("epochs", "batch_size", "precision", "cache")
    short = [f"{key}={options[key]}" for key in own_options if options[key] is not None]
    return [*short, *options["settings"]]


if __name__ == "__main__":
    main()
