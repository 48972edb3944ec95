"""The numbers on the code can be had; what they should be, no test says."""

import ast

import pytest
from click.testing import CliRunner

from tests.support import code_metrics
from tests.support.warm_job import run

LABELS = (
    "Python files in dogbreed and jobs",
    "statements in dogbreed",
    "modules under",
    "longest files",
    "longest functions",
)


def test_every_number_has_its_label() -> None:
    done = CliRunner().invoke(code_metrics.main, ["--no-stack"], catch_exceptions=False)
    assert [label for label in LABELS if label not in done.output] == []


def test_an_imported_name_counts_for_its_module() -> None:
    tree = ast.parse("import a.b\ndef f():\n    from c.d import e\n")
    assert code_metrics.imported_names(tree) == {"a.b", "c.d", "c.d.e"}


@pytest.mark.long
def test_the_frames_of_a_step_begin_at_main_and_end_in_training() -> None:
    done = run("tests.support.code_metrics")
    first, *_, last = done.stdout.split("own frames")[1].splitlines()[1:]
    assert first.split() == ["jobs/train.py", "main"]
    assert last.split()[0].startswith("dogbreed/training/")
