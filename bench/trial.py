"""What a trial of jobs.search takes beyond the same training by jobs.train, in seconds; at most 2 are promised.

Both start a process; the search opens its study, asks for one trial, and draws its figures, the training registers its
model. Alternated rounds, medians.
"""

import os
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from bench.jobs import draw_raw, job

ROUNDS = 5
RECIPE = ("--recipe", "synthetic-64", "--set", "epochs=3")
VARIED = ("--vary", "dropout=0.1,0.2", "--trials")


def seconds(name: str, *options: str) -> float:
    """Return how long a job takes."""
    began = time.perf_counter()
    job(name, *options)
    return time.perf_counter() - began


@click.command()
def main() -> None:
    """Print the medians of a training and of searches, and what a trial takes beyond the same training."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{home}/mlflow.db"
        data = str(home / "dogs")
        job("preprocess", "--raw", draw_raw(home, 12), "--out", data, "--size", "64")
        rounds = []
        for seed in map(str, range(ROUNDS + 1)):  # the first one warms up
            common = ("--data", data, *RECIPE, "--seed", seed)
            trained = seconds("train", *common)
            rounds.append([trained, *(seconds("search", *common, *VARIED, trials) for trials in ("1", "2"))])
    train, one, two = (median(times) for times in zip(*rounds[1:], strict=True))
    print(f"jobs.train {train:.1f} s; jobs.search of one trial {one:.1f} s, of one more {two:.1f} s")
    print(f"a trial beyond the same training: {one - train:+.1f} s (at most 2)")


if __name__ == "__main__":
    main()
