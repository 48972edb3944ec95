"""The crop ablation: the same recipe trained on boxes with several margins and on whole images, each tested on both.

Nobody draws a box around a dog that a model is asked about, so the columns that count are those on whole images.
`python -m bench.crops --raw URI --out FOLDER` runs the suite's own jobs; started again it goes on where it was.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.jobs import job

WHOLE = "whole"


def dataset(raw: str, home: Path, crop: str, size: int) -> str:
    """Preprocess the images at one margin, or whole, and return where they are."""
    out = str(home / f"crop-{crop}")
    way = ("--crop", "none") if crop == WHOLE else ("--margin", crop)
    job("preprocess", "--raw", raw, "--out", out, "--size", str(size), *way)
    return out


def scores(crop: str, data: dict[str, str], training: Sequence[str], tested: Sequence[str]) -> list[float]:
    """Train on one dataset and return validation top-1 and test top-1 on each of `tested`."""
    trained = job("train", "--data", data[crop], *training)
    tests = [job("evaluate", "--model", trained["model_uri"], "--data", data[name])["top1"] for name in tested]
    return [trained["val_top1"], *tests]


@click.command()
@click.option("--raw", required=True, help="Raw Stanford Dogs archives.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for datasets and runs.")
@click.option("--margins", default="0,0.1,0.3", show_default=True, help="Margins in box sides, separated by commas.")
@click.option("--recipe", default="simple-64", show_default=True, help="Recipe to train.")
@click.option("--size", default=128, show_default=True, help="Shorter side of the crops in pixels.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of the recipe.")
def main(raw: str, out: Path, margins: str, recipe: str, size: int, settings: tuple[str, ...]) -> None:
    """Print one table: rows are what was trained on, columns what was tested on."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{out.absolute()}/mlflow.db")
    out.mkdir(parents=True, exist_ok=True)
    crops = [*margins.split(","), WHOLE]
    data = {crop: dataset(raw, out, crop, size) for crop in crops}
    training = ["--recipe", recipe, *(part for setting in settings for part in ("--set", setting))]
    table = Table(
        "trained on", "own validation", *(f"test, {_name(crop)}" for crop in crops), title=f"Top-1 of {recipe}"
    )
    for crop in crops:
        table.add_row(_name(crop), *(f"{score:.1%}" for score in scores(crop, data, training, crops)))
    Console(width=110).print(table)


def _name(crop: str) -> str:
    return "whole images" if crop == WHOLE else f"box + {float(crop):.0%}"


if __name__ == "__main__":
    main()
