"""Search the fields of a recipe for a better validation score."""

import shlex
from collections.abc import Mapping
from typing import Any

import click

from jobs._cli import SEED, default_checkpoints, gpus_option, job, name_option, uri_option, validate_name


@job("search")
@uri_option("--data", "Dataset made by jobs.preprocess", required=True)
@click.option("--recipe", required=True, help="Named recipe, for example simple-64, with which the trials begin.")
@click.option(
    "--space",
    metavar="NAME",
    help="Fields and ranges: head (a new head on cached features), fine-tuning or from-scratch; --dry-run prints them.",
)
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=VALUES",
    envvar="DOGBREED_SEARCH_VARY",
    help="Vary a field of the recipe: KEY=LOW:HIGH, KEY=log:LOW:HIGH or KEY=A,B,C; in the environment variable, "
    "separate fields by spaces.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    envvar="DOGBREED_SEARCH_SET",
    help="Set a field of the recipe in all trials; in the environment variable, separate settings by spaces.",
)
@click.option("--weights", metavar="none|imagenet|URI", help="Initial weights of all trials, as in jobs.train.")
@click.option(
    "--study",
    callback=validate_name,
    help="Name of the study; processes with the same one share its trials.  [default: the recipe's name and a hash]",
)
@click.option("--trials", type=click.IntRange(1), default=40, help="Trials of the study, by all its processes.")
@click.option(
    "--repeat-best",
    type=click.IntRange(0),
    default=0,
    metavar="COUNT",
    help="Then train the best COUNT trials with three other seeds each, and rank them by their mean.",
)
@click.option("--hours", type=click.FloatRange(0), default=0.0, help="Begin no trial after so many hours; 0: no limit.")
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random"]),
    default="tpe",
    help="How values are chosen: by Optuna's tree-structured Parzen estimator, or at random.",
)
@click.option("--seed", type=SEED, default=0, help="Seed of the trainings and of the values that are tried.")
@click.option(
    "--storage",
    metavar="FILE|URL",
    help="Database of studies: a SQLite file, a .journal file (for NFS) or postgresql://user:password@host/database.  "
    "[default: search.db in the folder of checkpoints]",
)
@name_option("--experiment-prefix", "MLflow's experiment is NAME/search.  [default: the dataset's name]")
@gpus_option
@click.option("--deterministic", is_flag=True, help="Bit-for-bit reproducible on a CPU; slower.")
@uri_option(
    "--checkpoints", "Folder of checkpoints, one subfolder per trial.  [default: checkpoints, beside the dataset]"
)
@click.option("--checkpoint-every", default="1m", metavar="STEPS|TIME", help="Interval between a trial's checkpoints.")
@click.option("--dry-run", is_flag=True, help="Print the space and what a trial and the study cost, and exit.")
def main(**options: Any) -> Mapping[str, object]:
    """Train trials of a recipe with other values of some fields, and print the best as a command of jobs.train."""
    from dogbreed.training.search_spaces import get_space
    from dogbreed.workflows import search, search_plan, train_job
    from dogbreed.workflows.search_study import SearchOptions

    checkpoints = (options["checkpoints"] or default_checkpoints(options["data"])).rstrip("/")
    space = get_space(options["space"], options["varied"], options["settings"])
    with train_job.prepare(
        data=options["data"],
        registered_model=None,
        experiment_prefix=options["experiment_prefix"],
        recipe=options["recipe"],
        initial_weights=options["weights"],
        settings=options["settings"],
        strategy="single",
        gpus=options["gpus"],
        checkpoints=checkpoints,
        checkpoint_every=options["checkpoint_every"],
        log_every=0,
        profile=False,
        restart=False,
        deterministic=options["deterministic"],
        one_seed=False,
    ) as prepared:
        if options["dry_run"]:
            return search_plan.describe(prepared, space, options["trials"], options["data"], list(options["settings"]))
        chosen = SearchOptions(
            study=options["study"],
            storage=options["storage"] or _default_storage(checkpoints),
            trials=options["trials"],
            repeat_best=options["repeat_best"],
            hours=options["hours"],
            sampler=options["sampler"],
            seed=options["seed"],
            command=_train_command(options),
        )
        return search.search(prepared, space, chosen)


def _default_storage(checkpoints: str) -> str:
    """Return the default of --storage, a file beside the checkpoints."""
    from dogbreed.core.storage import to_path

    folder = to_path(checkpoints)
    if folder is None:
        raise click.UsageError("--storage is required where the checkpoints are in a bucket")
    return str(folder / "search.db")


def _train_command(options: Mapping[str, Any]) -> str:
    """Return the command of jobs.train with what all trials share."""
    parts = ["python", "-m", "jobs.train", "--data", options["data"], "--recipe", options["recipe"]]
    for name in ("weights", "seed"):
        if options[name]:
            parts += [f"--{name}", str(options[name])]
    for setting in options["settings"]:
        parts += ["--set", setting]
    return shlex.join(parts)


if __name__ == "__main__":
    main()
