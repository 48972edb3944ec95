"""Peak memory of a training on many images against the same on few, and against loading everything before `fit`.

`python -m bench.memory --raw URI` takes real archives; without, sketches are drawn. Every training is a process of its
own with one epoch; the figure is its peak resident set size.
"""

import tempfile
from pathlib import Path

import click

from bench.jobs import draw_raw, job, run

FEW = 12  # images of each breed in train and in test: about 1,300 train images of 120 breeds


def above(way: str, what: str) -> int:
    """Return the MiB that a training's images take above TensorFlow's own."""
    before, after = map(int, run("bench.memory_ways", way, what).split())
    return max(1, after - before)


@click.command()
@click.option("--raw", help="Raw Stanford Dogs archives.  [default: synthetic]")
@click.option("--recipe", default="simple-64", show_default=True, help="Recipe to train for one epoch.")
@click.option("--size", default=64, show_default=True, help="Shorter side of the crops in pixels.")
def main(raw: str | None, recipe: str, size: int) -> None:
    """Print peak memory for few and for many images, and the ratios."""
    with tempfile.TemporaryDirectory() as home:
        few = FEW if raw else 20
        raw = raw or draw_raw(Path(home), per_class=200)
        tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db"}
        made: dict[str, int] = {}
        peaks: dict[str, int] = {}
        for name, pixels, selection in (
            ("few", size, ("--per-class", str(few))),
            ("many", size, ()),
            ("224", 224, ("--per-class", str(few))),
        ):
            out = ("--out", f"{home}/{name}", "--size", str(pixels))
            made[name] = job("preprocess", "--raw", raw, *out, *selection, **tracking)["splits"]["train"]
        for name in ("few", "many"):
            trained = job("train", "--data", f"{home}/{name}", "--recipe", recipe, "--epochs", "1", **tracking)
            peaks[name] = trained["peak_rss_mb"]
        growth = peaks["many"] / peaks["few"]
        click.echo(
            f"jobs.train: {made['few']} train images {peaks['few']} MiB, {made['many']} train images "
            f"{peaks['many']} MiB: {growth:.3f}x (at most 1.05x)"
        )
        loaded, streamed = above("loaded", str(made["224"])), above("streamed", f"{home}/224")
        click.echo(
            f"{made['224']} images of 224 px above TensorFlow's own memory: loaded as a list into fit {loaded} MiB, "
            f"streamed {streamed} MiB: {loaded / streamed:.0f}x less (at least 40x)"
        )


if __name__ == "__main__":
    main()
