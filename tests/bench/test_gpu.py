"""What `make gpu` runs, in which order, and that a row that fails costs no other; no row here needs TensorFlow."""

import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from bench.gpu import report
from bench.gpu.plan import RECIPES, Row, plan
from bench.gpu.runner import Result, run_rows

ROOT = Path(__file__).parents[2]
CODE = {  # of the rows that the tests run
    "works": """print('{"text": "found", "images_per_second": 1234.5}')""",
    "aborts": "import os, sys; print('a check failed in C++', file=sys.stderr, flush=True); os.abort()",
    "hangs": "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)",
    "exits with 78": "import sys; print('too little memory', file=sys.stderr); sys.exit(78)",
    "dataset": """print('{"text": "made"}')""",
    "environment": """print('{"text": "two", "gpus": ["a", "b"]}')""",
}


def run(rows: list[Row], logs: Path, seconds: float = 60.0, longest: float = 60.0) -> list[Result]:
    """Run the code that the rows' names stand for."""
    return list(run_rows(rows, lambda row: [sys.executable, "-c", CODE[row.name]], logs, seconds, False, longest))


def trainings(device: str) -> list[tuple[object, ...]]:
    """Return the settings of the training rows in order."""
    return [tuple(row.settings.values()) for row in plan(device, False) if row.task == "training.measure"]


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_every_recipe_has_a_row_with_each_precision_with_and_without_xla(device: str) -> None:
    precisions = ("float32", "mixed_bfloat16", "mixed_float16")
    synthetic = set(product(RECIPES, precisions, ("on", "off"), [False]))
    found = trainings(device)
    assert {row for row in found if not row[3]} == synthetic
    assert {row[0] for row in found if row[3]} == set(RECIPES)
    assert len(found) == len(set(found)) == 35


@pytest.mark.parametrize(("device", "first"), [("gpu", ("mixed_bfloat16", "on")), ("cpu", ("float32", "off"))])
def test_the_rows_come_in_order_of_importance(device: str, first: tuple[str, str]) -> None:
    names = [row.name for row in plan(device, False)]
    assert names[:2] == ["environment", "preflight"]
    assert trainings(device)[:5] == [(recipe, *first, False) for recipe in RECIPES]
    assert names[7] == "dataset"
    assert trainings(device)[5:7] == [("resnet50-224", *first, True), ("simple-64", *first, True)]
    assert [name.split(",")[0] for name in names[10:14]] == [
        "out of memory", "checkpoint and resume", f"save on the {device.upper()}", "one GPU against all (mirrored)",
    ]  # fmt: skip
    assert len(set(names)) == len(names) == 42
    assert "dataset" not in [row.name for row in plan(device, own_data=True)]


def test_a_row_that_aborts_or_hangs_is_reported_and_the_next_one_runs(tmp_path: Path) -> None:
    began = time.monotonic()
    results = run([Row(name, "") for name in ("aborts", "hangs", "works")], tmp_path, longest=3.0)
    assert time.monotonic() - began < 30
    assert [(result.status, result.text) for result in results] == [
        ("failed", "exit -6: a check failed in C++"),
        ("stopped", "at its limit of 3 s, after: no message"),
        ("done", "found"),
    ]  # fmt: skip
    assert results[2].values == {"images_per_second": 1234.5}


def test_a_row_must_exit_with_the_code_that_it_is_to_prove(tmp_path: Path) -> None:
    results = run([Row("exits with 78", "", exit_code=78), Row("works", "", exit_code=78)], tmp_path)
    assert [(result.status, result.text) for result in results] == [
        ("done", "exit 78: too little memory"), ("failed", "exit 0 instead of 78: no message"),
    ]  # fmt: skip


def test_rows_wait_for_what_they_need(tmp_path: Path) -> None:
    needy = [Row("works", "", needs_data=True), Row("works", "", min_gpus=2)]
    results = run([*needy, Row("dataset", ""), Row("environment", ""), *needy], tmp_path)
    assert [result.text for result in results] == [
        "there is no dataset", "needs 2 GPUs", "made", "two", "found", "found",
    ]  # fmt: skip


def test_the_report_has_the_figures_and_what_was_left_out(tmp_path: Path) -> None:
    report.write(tmp_path, "title", run([Row("works", ""), Row("aborts", ""), Row("works", "", min_gpus=2)], tmp_path))
    text = (tmp_path / "report.md").read_text()
    assert "| works |  | 1,234.5 |  |  |  |  |" in text
    assert "- aborts (failed): exit -6" in text
    assert "- left out, needs 2 GPUs (1 row): works" in text
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["done", "failed", "left out"]


def test_without_time_every_row_is_listed_as_left_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.gpu", "--minutes", "0", "--device", "cpu", "--out", str(tmp_path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = "; ".join(row.name for row in plan("cpu", False))
    assert f"without a result: left out, no time left, use more MINUTES (42 rows): {names}\n" in printed
