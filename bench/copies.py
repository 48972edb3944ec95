"""Time, memory and size of the manifest for many copies, against the same number of different images.

Half of one folder is a single placeholder, a quarter are the frames of one scene of each class, and the rest are
different; all of the other folder are different. Both are preprocessed by a process of its own, with stratified splits.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

CLASSES = 10  # with a scene each
SHAPE = (96, 72)  # pixels
LIMIT = 1.5  # how many times as much copies may take
SHARES = {"train": 0.72, "validation": 0.08, "test": 0.2}
SHARE_LIMIT = 0.02  # how far a split may be off its share


class Measured(NamedTuple):
    """What one run of jobs.preprocess took, and its summary."""

    seconds: float
    peak_mib: float
    manifest_bytes: int
    summary: dict[str, Any]


def draw_picture(seed: int, shape: tuple[int, int] = SHAPE) -> Image.Image:
    """Return a smooth random picture that resembles that of no other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC)


def draw_frame(scene: Image.Image, number: int, count: int) -> Image.Image:
    """Return a frame of a scene that a camera pans over, with the noise of a sensor."""
    left = number / count * (scene.width - SHAPE[0])
    window = (left, 0, left + SHAPE[0], SHAPE[1])
    frame = np.asarray(scene.resize(SHAPE, Image.Resampling.BILINEAR, box=window), np.int16)
    noise = np.random.default_rng(number).integers(-4, 5, frame.shape)
    return Image.fromarray(np.clip(frame + noise, 0, 255).astype(np.uint8))


def draw_different(folder: Path, images: int) -> None:
    """Write `images` different images as <class>/<number>.jpg."""
    for number in range(images):
        _save(draw_picture(number), folder, number % CLASSES, "image", number)


def draw_copies(folder: Path, images: int) -> None:
    """Write `images` images of which a half are one placeholder and a quarter the frames of a scene of each class."""
    placeholders, frames = images // 2, images // 4 // CLASSES
    draw_different(folder, images - placeholders - frames * CLASSES)
    placeholder = draw_picture(images)
    for number in range(placeholders):
        _save(placeholder, folder, number % CLASSES, "none", number)
    for label in range(CLASSES):
        scene = draw_picture(images + 1 + label, (SHAPE[0] * 5 // 4, SHAPE[1]))
        for number in range(frames):
            _save(draw_frame(scene, number, frames), folder, label, "frame", number)


def _save(image: Image.Image, folder: Path, label: int, kind: str, number: int) -> None:
    path = folder / f"class_{label}" / f"{kind}_{number:05}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def measure(raw: Path, home: Path) -> Measured:
    """Preprocess a folder in a process of its own."""
    out = home / f"{raw.name}-dataset"
    source = ("--source", "image-folder", "--name", raw.name, "--raw", str(raw), "--split", "stratified")
    command = [sys.executable, "-m", "jobs.preprocess", *source, "--size", "64", "--out", str(out)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{home}/{raw.name}.db"}
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"jobs.preprocess exits with {process.returncode}")
    size = (out / "manifest.json").stat().st_size
    summary = json.loads(printed.splitlines()[-1])
    return Measured(time.monotonic() - began, usage.ru_maxrss / 1024, size, summary)


def show(different: Measured, copies: Measured) -> None:
    """Print both runs side by side, and the shares of the splits."""
    table = Table("", "different", "copies", "ratio", "at most", title_justify="left")
    for name in ("seconds", "peak_mib", "manifest_bytes"):
        a, b = getattr(different, name), getattr(copies, name)
        table.add_row(name, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.2f}x", f"{LIMIT}x{' MISSED' if b > LIMIT * a else ''}")
    for name, share in SHARES.items():
        a, b = (run.summary["splits"][name] / run.summary["written"] for run in (different, copies))
        missed = " MISSED" if abs(b - share) > SHARE_LIMIT else ""
        table.add_row(f"share of {name}", f"{a:.1%}", f"{b:.1%}", "", f"{share:.0%} +- {SHARE_LIMIT:.0%}{missed}")
    Console(width=100).print(table)


@click.command()
@click.option("--images", default=20_000, show_default=True, help="Images of each folder.")
def main(images: int) -> None:
    """Print what preprocessing takes for many copies and for as many different images."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        draw_different(home / "different", images)
        draw_copies(home / "copies", images)
        show(measure(home / "different", home), measure(home / "copies", home))


if __name__ == "__main__":
    main()
