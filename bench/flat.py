"""The memory of one training over time: a line that stays flat, however many photos pass.

Runs jobs.train as a process of its own and reads its resident set once a second.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import psutil
from matplotlib import rc_context

from dogbreed.review.style import BLUE, STYLE, new_figure

LIST_MIB_A_PHOTO = 4.1  # a list of float64 arrays into `fit` at 224 px, printed by bench.memory


def watched(options: tuple[str, ...]) -> list[tuple[float, float]]:
    """Train and return (seconds, MiB) once a second."""
    began, found = time.monotonic(), []
    process = subprocess.Popen([sys.executable, "-m", "jobs.train", *options], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        found.append((time.monotonic() - began, psutil.Process(process.pid).memory_info().rss / 2**20))
        time.sleep(1)
    if process.returncode:
        sys.exit(process.returncode)
    return [(seconds, size) for seconds, size in found if size]


@rc_context(STYLE)
def draw(found: list[tuple[float, float]], title: str, path: Path) -> None:
    """Draw memory over time."""
    figure = new_figure(9, 4.2, title)
    axes = figure.add_subplot()
    axes.plot(*zip(*found, strict=True), color=BLUE)
    axes.set_ylim(0)
    axes.set_xlabel("Seconds")
    axes.set_ylabel("Resident set [MiB]")
    axes.grid(axis="y")
    figure.savefig(path)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--picture", type=click.Path(path_type=Path), required=True, help="Where the figure goes, as PNG.")
@click.option("--photos", type=int, required=True, help="Train photos, for what loading all of them would take.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(picture: Path, photos: int, options: tuple[str, ...]) -> None:
    """Train with OPTIONS of jobs.train, draw its memory and print how much the second half of the time added."""
    found = watched(options)
    half = [size for seconds, size in found if seconds > found[-1][0] / 2]
    quarter = [size for seconds, size in found if found[-1][0] / 4 < seconds <= found[-1][0] / 2]
    growth = max(half) / max(quarter)
    loaded = photos * LIST_MIB_A_PHOTO / 1024
    draw(found, f"Memory of a training: peak {max(size for _, size in found):,.0f} MiB", picture)
    click.echo(
        f"peak {max(size for _, size in found):,.0f} MiB; the second half of the time against the second quarter: "
        f"{growth:.3f}x; a list of float64 arrays would take {loaded:.0f} GiB"
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
