"""The long form: every fault, most of them many times, as a table; exit status 1 when a row failed.

python -m tests.support.faults.table [--kills 200] [--rounds 20] [--seed 0] [--part PART] [--fresh]

Each attempt imports its job anew: leave the code alone meanwhile, or run this in a clone.
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.support.attempt import KILLED, Attempt
from tests.support.faults import kills, mlflow_outages, store_faults, training_kills, workers_table, writers
from tests.support.faults.prediction_site import PredictionSite, killed_three_times
from tests.support.faults.preprocess_sites import BucketSite, FolderSite, Site
from tests.support.faults.rows import Row, clean_run
from tests.support.faults.training_site import TrainingSite
from tests.support.servers import s3_server

PARTS = ("kills", "writers", "store", "train", "mlflow", "predict", "workers")
STEPS_KILLED, CALLS_KILLED, STOPS = 30, 60, 20
IMPORTS = 7.0  # seconds that a fresh process takes longer than a forked one
COLUMNS = ("fault", "attempts", "recovered", "exit codes", "seconds", "also seen")
PATIENT = replace(store_faults.UNAVAILABLE, name="503 for ever, with the suite's own patience")


@click.command()
@click.option(
    "--kills",
    "count",
    default=200,
    show_default=True,
    help="Random kills, four times: folder or bucket, at any moment or while committing.",
)
@click.option("--rounds", default=20, show_default=True, help="Rounds of concurrent writers.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random moments.")
@click.option("--part", type=click.Choice(PARTS), help="Only this part.  [default: all]")
@click.option("--fresh", is_flag=True, help="A fresh interpreter for each attempt: takes five times as long.")
def main(count: int, rounds: int, seed: int, part: str | None, fresh: bool) -> None:
    """Hurt jobs.preprocess, jobs.train and jobs.predict in every known way and show what became of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server and the temporary folder go as well
    if fresh:
        Attempt.context = multiprocessing.get_context("spawn")
    chosen = PARTS if part is None else (part,)
    rows: list[tuple[Row, float]] = []
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as (server, variables):
        if {"kills", "writers", "store"} & {*chosen}:
            rows += preprocess_rows(Path(folder), variables, chosen, count, rounds, seed)
        if {"train", "mlflow"} & {*chosen}:
            site = TrainingSite(Path(folder))
            rows += timed(train_rows(site, rounds, seed)) if "train" in chosen else []
            rows += timed(mlflow_rows(site)) if "mlflow" in chosen else []
        if "predict" in chosen:
            rows += timed(predict_rows(Path(folder), seed))
    if rows:
        show(rows, f"{count} random kills, {rounds} rounds, seed {seed}; s3:// is {server}")
    equal = workers_table.main() if "workers" in chosen else True
    sys.exit(not (equal and all(row.passed for row, _ in rows)))


def preprocess_rows(
    folder: Path, variables: dict[str, str], chosen: tuple[str, ...], count: int, rounds: int, seed: int
) -> list[tuple[Row, float]]:
    """Hurt jobs.preprocess in a folder, then in a bucket."""
    bucket = BucketSite(folder / "s3", f"dogbreed-faults-{os.getpid()}", variables)
    parts: dict[str, Callable[[Site], Iterator[Row]]] = {
        "kills": partial(kill_rows, count=count, seed=seed),
        "writers": partial(writer_rows, rounds=rounds),
        "store": store_rows,
    }
    rows: list[tuple[Row, float]] = []
    for site in (FolderSite(folder / "folder"), bucket):
        for name, make in parts.items():
            rows += timed(make(site)) if name in chosen else []
    bucket.remove()
    return rows


def kill_rows(site: Site, count: int, seed: int) -> Iterator[Row]:
    """Kill it everywhere."""
    yield clean_run(site)
    yield kills.at_calls(site, kills.every_moment(len(site.clean.calls)))
    yield kills.at_calls_to_raw(site)
    if isinstance(site, FolderSite):
        puts = [call for call in site.clean.calls if call.startswith("put")]
        yield kills.inside_puts(site, kills.every_moment(len(puts)))
    yield kills.at_random(site, count, seed)
    yield kills.at_random(site, count, seed, committing=True)


def writer_rows(site: Site, rounds: int) -> Iterator[Row]:
    """Let several write at once."""
    yield writers.same_options(site, rounds)
    yield writers.different_options(site, rounds)
    for workers in (1, 2, 3):
        yield writers.fixed_shares(site, workers, rounds)


def store_rows(site: Site) -> Iterator[Row]:
    """Let the store fail; what only a server can do wrong is left out for a folder."""
    for kind in ("shards", "_parts", "manifest"):
        yield store_faults.planted(site, kind)
    for kinds in (("manifest",), ("_parts", "manifest"), ("shards",), ("shards", "manifest")):
        yield store_faults.lost(site, *kinds)
    if isinstance(site, BucketSite):
        for fault in store_faults.FAULTS:
            yield store_faults.inject(site, fault)
        yield store_faults.inject(site, PATIENT, patience=None)
        yield store_faults.never_there(site)
        yield store_faults.missing_bucket(site)


def train_rows(site: TrainingSite, rounds: int, seed: int) -> Iterator[Row]:
    """Kill, stop and crowd a training, and damage its checkpoints."""
    steps, choice = len(site.clean.outcome.calls), random.Random(seed)
    yield training_kills.at_steps(site, training_kills.random_steps(STEPS_KILLED, steps, seed))
    yield training_kills.at_steps(site, training_kills.random_steps(STEPS_KILLED, steps // 5, seed), chain=5)
    yield training_kills.in_checkpoints(site, training_kills.checkpoint_calls(site, CALLS_KILLED, seed))
    yield training_kills.damaged(site, training_kills.DAMAGES, training_kills.FILES)
    yield training_kills.two_holders(site, rounds // 4)
    whole = site.clean.outcome.first + site.clean.outcome.seconds + IMPORTS
    yield training_kills.terminated(site, [choice.uniform(0, whole) for _ in range(STOPS)])
    yield training_kills.stopped(site, choice.sample(range(1, steps + 1), STOPS // 2))


def mlflow_rows(site: TrainingSite) -> Iterator[Row]:
    """Let MLflow leave a training."""
    with mlflow_outages.service(site) as service:
        for outage in mlflow_outages.OUTAGES:
            yield mlflow_outages.outage(service, outage)
        yield mlflow_outages.lost_disk(service)


def predict_rows(folder: Path, seed: int) -> Iterator[Row]:
    """Kill a small batch prediction around its first commits and a large one three times in a row."""
    small = PredictionSite(folder / "predict-small", 41, 8)
    row = kills.at_calls(small, kills.commits(small))
    yield replace(row, fault="predict: killed before and after the first commits")
    yield killed_three_times(PredictionSite(folder / "predict", 2000, 8), seed)


def timed(rows: Iterator[Row]) -> Iterator[tuple[Row, float]]:
    """Yield each row with the seconds that it took, and say on stderr how it went."""
    began = time.monotonic()
    for row in rows:
        seconds = time.monotonic() - began
        click.echo(f"{'passed' if row.passed else 'FAILED'} {row.fault} ({seconds:.0f} s)", err=True)
        for problem in row.problems[:1]:
            click.echo(problem, err=True)
        yield row, seconds
        began = time.monotonic()


def show(rows: list[tuple[Row, float]], title: str) -> None:
    """Print the table, then what was wrong."""
    table = Table(*COLUMNS, title=title)
    for row, seconds in rows:
        cells = (row.fault, str(row.attempts), str(row.recovered), codes(row.exit_codes), f"{seconds:.0f}")
        seen = ", ".join(f"{count} {what}" for what, count in row.seen.items() if count)
        table.add_row(*cells, seen, style=None if row.passed else "bold red")
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table)
    for row, _ in rows:
        for problem in row.problems:
            console.print(f"{row.fault}: {problem}", markup=False)


def codes(seen: Counter[int | None]) -> str:
    """Return exit codes with how often each was seen."""
    names = {KILLED: "SIGKILL", None: "none (hung)"}
    return ", ".join(f"{names.get(code, code)} ×{count}" for code, count in seen.most_common())


if __name__ == "__main__":
    main()
