"""The size and shape of the code in numbers, beside those before the second edition; they guide and enforce nothing.

python -m tests.support.code_metrics [--no-stack]
"""

import ast
import contextlib
import io
import os
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click

ROOT = Path(__file__).parents[2]
FILES_BEFORE, STATEMENTS_BEFORE, FRAMES_BEFORE = 106, 8319, "9 in 5 files"
SHORT = 40  # lines
SHOWN = 8  # longest files and functions


class TracedError(Exception):
    """Ends a training when its stack has been seen."""


@dataclass(frozen=True)
class Module:
    """One Python file, by its name as imports have it."""

    name: str
    path: Path
    tree: ast.Module
    lines: int


def load_modules(*folders: str) -> list[Module]:
    """Return all Python files below some folders of the repository, parsed."""
    found = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, path, ast.parse(text), text.count("\n")))
    return found


def without_init(modules: list[Module]) -> list[Module]:
    """Return the modules that are not the __init__.py of a package."""
    return [module for module in modules if module.path.name != "__init__.py"]


def count_statements(modules: list[Module]) -> int:
    """Return the number of statements, docstrings and imports included."""
    return sum(isinstance(node, ast.stmt) for module in modules for node in ast.walk(module.tree))


def find_importers(modules: list[Module]) -> dict[str, set[str]]:
    """Return module -> the modules that import it, or a name of it, at their top or in a function."""
    names = {module.name for module in modules}
    importers = defaultdict(set)
    for module in modules:
        for name in imported_names(module.tree) & names - {module.name}:
            importers[name].add(module.name)
    return importers


def imported_names(tree: ast.Module) -> set[str]:
    """Return every dotted name that a file imports; of `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def find_short_modules(modules: list[Module]) -> list[tuple[Module, str]]:
    """Return the modules under SHORT lines that one other module imports, with that one."""
    importers = find_importers(modules)
    short = [module for module in without_init(modules) if module.lines < SHORT and len(importers[module.name]) == 1]
    return [(module, *importers[module.name]) for module in short]


def function_lengths(modules: list[Module]) -> list[tuple[int, str]]:
    """Return lines, signature and docstring included, and the place of each function, the longest first."""
    found = []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{module.path.relative_to(ROOT)}:{node.lineno} {node.name}"
                found.append(((node.end_lineno or node.lineno) - node.lineno + 1, place))
    return sorted(found, reverse=True)


def trace_training_step() -> list[tuple[str, str]]:
    """Return file and function of our own frames from jobs/train.py:main to the gradient, outermost first.

    Seen in the stack of a real training, which ends there: drawn images, jobs in this process, MLflow in a folder.
    """
    stack: list[traceback.FrameSummary] = []
    with tempfile.TemporaryDirectory(prefix="dogbreed-metrics-") as home, quiet_jobs(Path(home)):
        from jobs import fetch, preprocess, train

        raw, data = f"{home}/raw", f"{home}/data"
        source = ("--source", "synthetic", "--raw", raw)
        fetch.main.main([*source, "--classes", "2", "--per-class", "8"], standalone_mode=False)
        preprocess.main.main([*source, "--out", data, "--size", "32"], standalone_mode=False)
        settings = ("--set", "size=32", "--epochs", "1", "--batch-size", "4")
        with record_stack_of_gradient(stack), contextlib.suppress(TracedError):
            train.main.main(["--data", data, "--recipe", "simple-64", *settings], standalone_mode=False)
    paths = [(os.path.relpath(frame.filename, ROOT), frame.name) for frame in stack]
    own = [(path, name) for path, name in paths if path.startswith(("jobs/", "dogbreed/"))]
    return own[own.index(("jobs/train.py", "main")) :]


@contextlib.contextmanager
def record_stack_of_gradient(stack: list[traceback.FrameSummary]) -> Iterator[None]:
    """Put the stack of the first gradient into `stack` and end the training there."""
    import tensorflow as tf

    def gradient(*arguments: object, **options: object) -> None:
        stack.extend(traceback.extract_stack())
        raise TracedError

    with mock.patch.object(tf.GradientTape, "gradient", gradient):
        yield


@contextlib.contextmanager
def quiet_jobs(home: Path) -> Iterator[None]:
    """Let jobs run in this process without a word on stdout, with MLflow below `home`."""
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with mock.patch.dict(os.environ, variables), contextlib.redirect_stdout(io.StringIO()):
        yield


def report() -> Iterator[str]:
    """Yield the lines on files, functions and statements."""
    modules = load_modules("dogbreed", "jobs")
    files = without_init(modules)
    yield f"Python files in dogbreed and jobs without __init__.py: {len(files)} ({FILES_BEFORE} before)"
    statements = count_statements(load_modules("dogbreed", "jobs", "bench"))
    yield f"statements in dogbreed, jobs and bench: {statements:,} ({STATEMENTS_BEFORE:,} before)"
    short = find_short_modules(modules)
    yield f"modules under {SHORT} lines with a single importer: {len(short)}"
    for module, importer in short:
        yield f"  {module.lines:4} {module.path.relative_to(ROOT)} (imported by {importer})"
    yield "longest files, lines:"
    for module in sorted(files, key=lambda module: -module.lines)[:SHOWN]:
        yield f"  {module.lines:4} {module.path.relative_to(ROOT)}"
    yield "longest functions, lines:"
    for lines, place in function_lengths(modules)[:SHOWN]:
        yield f"  {lines:4} {place}"


@click.command()
@click.option("--no-stack", is_flag=True, help="Without the training whose stack is read.")
def main(no_stack: bool) -> None:
    """Print the metrics."""
    click.echo("\n".join(report()))
    if not no_stack:
        frames = trace_training_step()
        count = len({path for path, _ in frames})
        click.echo(f"own frames from main to the gradient: {len(frames)} in {count} files ({FRAMES_BEFORE} before)")
        for path, name in frames:
            click.echo(f"  {path} {name}")


if __name__ == "__main__":
    main()
