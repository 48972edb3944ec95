"""The first minutes on a GPU: environment, training of several recipes, checkpoints and errors, until time is up.

Each row is a process of its own, the most important first. Without a GPU it prints "not run"; with `--device cpu` it
does the same on a CPU, with small batches and few steps, which shows that it works and measures nothing of a GPU.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import click

from bench.gpu import report
from bench.gpu.plan import Row, plan
from bench.gpu.runner import Result, run_rows
from dogbreed.core.resources import gpu_count


def command_of(row: Row, device: str, data: str, home: str) -> list[str]:
    """Return the command that runs a row."""
    places = {"device": device, "data": data, "home": home}
    return [sys.executable, "-m", "bench.gpu.row", row.task, json.dumps({**places, **row.settings})]


def has_no_gpu(result: Result) -> bool:
    """Return whether a result is that of an environment without a GPU."""
    return result.values.get("gpus") == []


def echo_not_run() -> None:
    """Print that there is nothing to measure, and why that may be."""
    click.echo("not run: TensorFlow sees no GPU; --device cpu (make gpu DEVICE=cpu) tries the same on the CPU")
    if gpu_count():
        click.echo('This machine has one; the image brings the libraries: docs/operations.md, "A GPU host"')


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0), default=10.0, show_default=True, help="Time for all rows together."
)
@click.option("--device", type=click.Choice(["gpu", "cpu"]), default="gpu", show_default=True)
@click.option("--data", help="Dataset of the real input, 224 px or more.  [default: generated images]")
@click.option("--out", default="build/gpu", show_default=True, help="Folder of report.md, report.json and logs.")
def main(minutes: float, device: str, data: str | None, out: str) -> None:
    """Run the rows of the plan until the time is over, then list the rows that were not run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the present row, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    logs, results = Path(out) / "logs", list[Result]()
    logs.mkdir(parents=True, exist_ok=True)
    title = f"bench.gpu --minutes {minutes:g} --device {device}"
    with tempfile.TemporaryDirectory() as home:
        place = data or f"{home}/data"
        rows = plan(device, data is not None)
        for result in run_rows(
            rows, lambda row: command_of(row, device, place, home), logs, 60 * minutes, data is not None
        ):
            if device == "gpu" and has_no_gpu(result):
                return echo_not_run()
            results.append(result)
            if result.status != "left out":
                click.echo(report.line(result))
            report.write(Path(out), title, results)
    for text in report.unfinished(results):
        click.echo(f"without a result: {text}")
    click.echo(f"written: {out}/report.md, {out}/report.json, {out}/logs")
    sys.exit(any(result.status == "failed" for result in results))


if __name__ == "__main__":
    main()
