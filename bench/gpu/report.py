"""The report of `python -m bench.gpu`: a line as each row ends, report.md and report.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.gpu.runner import Result
from dogbreed.core.text import pluralize

COLUMNS = {  # of the table of trainings: heading -> key and format of a value
    "batch": ("batch_size", "{:d}"),
    "images/s": ("images_per_second", "{:,.1f}"),
    "first epoch [s]": ("first_epoch_seconds", "{:.1f}"),
    "input wait": ("input_wait_fraction", "{:.0%}"),
    "GPU use": ("gpu_utilization", "{:.0%}"),
    "peak [GiB]": ("peak_gib", "{:.1f}"),
}
LEGEND = (
    "images/s: of the fastest epoch after the first one, which traces and compiles; input wait: fraction of the time "
    "in which the training waited for a batch; GPU use: mean fraction of the time in which a kernel ran on the busiest "
    "GPU of the machine, whichever process started it; peak: memory of the fullest GPU, on a CPU of the process. "
    "Synthetic input is the same batch again and again, without augmentation. Compare rows of the same name and batch."
)


def line(result: Result) -> str:
    """Return the line that is printed when a row has ended."""
    return f"{result.seconds:6.1f} s  {result.status:8}  {result.row.name}: {result.text}"


def unfinished(results: Sequence[Result]) -> list[str]:
    """Return a line for each row that failed or was stopped, then one for each reason to leave rows out."""
    ended = [result for result in results if result.status in ("failed", "stopped")]
    left_out: dict[str, list[str]] = {}
    for result in results:
        if result.status == "left out":
            left_out.setdefault(result.text, []).append(result.row.name)
    return [
        *(f"{result.row.name} ({result.status}): {result.text}" for result in ended),
        *(
            f"left out, {reason} ({pluralize(len(names), 'row')}): {'; '.join(names)}"
            for reason, names in left_out.items()
        ),
    ]


def write(folder: Path, title: str, results: Sequence[Result]) -> None:
    """Write report.md and report.json."""
    content = {"title": title, "rows": [asdict(result) for result in results]}
    (folder / "report.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "report.md").write_text("\n".join([f"# {title}", *_sections(results)]) + "\n")


def _sections(results: Sequence[Result]) -> list[str]:
    done = [result for result in results if result.status == "done"]
    trainings = [result for result in done if "images_per_second" in result.values]
    checks = [result for result in done if result not in trainings and "facts" not in result.values]
    facts: dict[str, Any] = next((result.values["facts"] for result in done if "facts" in result.values), {})
    return [
        *_section("Environment", [f"- {name}: {value}" for name, value in facts.items()]),
        *_section("Training", _training_table(trainings)),
        *_section("Checks", [f"- {result.row.name}: {result.text}" for result in checks]),
        *_section("Without a result", [f"- {text}" for text in unfinished(results)]),
    ]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(lines or ["none"])]


def _training_table(trainings: Sequence[Result]) -> list[str]:
    if not trainings:
        return []
    rows = [[result.row.name.removeprefix("train "), *_cells(result)] for result in trainings]
    header = ["training", *COLUMNS]
    return [f"| {' | '.join(row)} |" for row in (header, ["---", *["---:"] * len(COLUMNS)], *rows)] + ["", LEGEND]


def _cells(result: Result) -> list[str]:
    """Return the cells of a training; one without a value is empty."""
    found = [(result.values.get(key), form) for key, form in COLUMNS.values()]
    return ["" if value is None else form.format(value) for value, form in found]
