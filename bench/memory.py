"""Peak memory of a training on many photos against the same training on few.

`python -m bench.memory --raw URI` takes real archives; without, sketches are drawn. Both trainings are
separate `python -m jobs.train` processes of one epoch; the figure is their peak resident set size.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

FEW = 12  # photos of each breed in train and in test: about 1,300 train photos of 120 breeds


def job(name: str, *options: str, **environment: str) -> dict[str, Any]:
    """Run one job as a process of its own and return its summary."""
    command = [sys.executable, "-m", f"jobs.{name}", *options]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: draw sketches]")
@click.option("--recipe", default="simple-64", show_default=True, help="Recipe to train for one epoch.")
@click.option("--size", default=64, show_default=True, help="Shorter side of the crops in pixels.")
def main(raw: str | None, recipe: str, size: int) -> None:
    """Print peak memory for few and for many photos, and the ratio."""
    with tempfile.TemporaryDirectory() as home:
        source, few = ("stanford-dogs", FEW) if raw else ("sketches", 20)
        if raw is None:
            raw = f"{home}/raw"
            job("fetch", "--source", source, "--raw", raw, "--per-breed", "200")
        peaks = {}
        for name, selection in (("few", ("--per-breed", str(few))), ("many", ())):
            data = str(Path(home) / name)
            tracking = f"sqlite:///{home}/{name}.db"
            made = job(
                "preprocess", "--source", source, "--raw", raw, "--out", data, "--size", str(size), *selection,
                MLFLOW_TRACKING_URI=tracking,
            )  # fmt: skip
            trained = job("train", "--data", data, "--recipe", recipe, "--epochs", "1", MLFLOW_TRACKING_URI=tracking)
            peaks[made["splits"]["train"]] = trained["peak_rss_mb"]
    (photos, small), (more, large) = peaks.items()
    click.echo(f"{photos} train photos {small} MiB, {more} train photos {large} MiB: {large / small:.3f}x")


if __name__ == "__main__":
    main()
