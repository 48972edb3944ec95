"""The memory of one training over time: a line that stays flat, however many images pass.

Runs jobs.train as a process of its own, reads its resident set once a second, and tells epochs by the job's log.
"""

import os
import re
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import IO

import click
import psutil
from matplotlib import rc_context

from dogbreed.evaluation.figures.style import BLUE, GREY, STYLE, new_figure

LIST_MIB_PER_IMAGE = 4.1  # a list of float64 arrays into `fit` at 224 px, printed by bench.memory


def watched(options: tuple[str, ...]) -> tuple[list[tuple[float, float]], list[float]]:
    """Train and return (seconds, MiB) once a second, and the seconds at which epochs ended."""
    began, found, ends = time.monotonic(), [], []
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.train", *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def follow(log: IO[str]) -> None:
        for line in log:
            sys.stderr.write(line)
            if re.search(r" epoch \d+ of \d+: ", line):
                ends.append(time.monotonic() - began)

    assert process.stderr
    threading.Thread(target=follow, args=(process.stderr,), daemon=True).start()
    while process.poll() is None:
        found.append((time.monotonic() - began, psutil.Process(process.pid).memory_info().rss / 2**20))
        time.sleep(1)
    if process.returncode:
        sys.exit(process.returncode)
    return [(seconds, size) for seconds, size in found if size], ends


def peaks(found: list[tuple[float, float]], ends: list[float]) -> list[float]:
    """Return the highest resident set in each epoch after the first, which also builds and traces the model."""
    return [max(size for seconds, size in found if begin < seconds <= end) for begin, end in pairwise(ends)]


@rc_context(STYLE)
def draw(found: list[tuple[float, float]], ends: list[float], title: str, path: Path) -> None:
    """Draw memory over time, with a line where each epoch ends."""
    figure = new_figure(9, 4.2, title)
    axes = figure.add_subplot()
    axes.plot(*zip(*found, strict=True), color=BLUE)
    for number, end in enumerate(ends, 1):
        axes.axvline(end, color=GREY, linewidth=0.8)
        axes.text(end, 0, f"epoch {number} ends ", ha="right", va="bottom", rotation=90, fontsize=8)
    axes.set_ylim(0)
    axes.set_xlabel("Seconds")
    axes.set_ylabel("Resident set [MiB]")
    axes.grid(axis="y")
    figure.savefig(path)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--picture", type=click.Path(path_type=Path), required=True, help="Where the figure goes, as PNG.")
@click.option("--images", type=int, required=True, help="Images, for what loading all of them would take.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(picture: Path, images: int, options: tuple[str, ...]) -> None:
    """Train with OPTIONS of jobs.train, draw its memory, print how much it grew from the second epoch to the last."""
    found, ends = watched(options)
    by_epoch, peak = peaks(found, ends), max(size for _, size in found)
    draw(found, ends, f"Memory of a training at its peak: {peak:,.0f} MiB", picture)
    click.echo(
        f"highest in each epoch from the second on: {', '.join(f'{size:,.0f}' for size in by_epoch)} MiB "
        f"({by_epoch[-1] / by_epoch[0]:.3f}x); peak {peak:,.0f} MiB; "
        f"a list of float64 arrays of {images:,} images would take {images * LIST_MIB_PER_IMAGE / 1024:.0f} GiB"
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
