"""The pages below docs/ agree with the code: modules, options, exit codes, links."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support import cli_reference, module_tables
from tests.support.cli_reference import JOBS, help_text

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
OTHER_OPTIONS = {  # of benchmarks, pip-audit and Docker, which prose names beside those of the jobs
    "--enlarge", "--part", "--help", "--no-deps", "--volumes", "--build",
}  # fmt: skip


def section(page: str, title: str) -> str:
    """Return what stands below a heading of the second level."""
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_command_line_reference_is_what_the_jobs_print() -> None:
    assert cli_reference.PAGE.read_text() == cli_reference.render(), "run: make docs"


def test_the_command_line_reference_is_written_without_tensorflow() -> None:
    code = (
        "import sys; from tests.support.cli_reference import render; render();"
        "sys.exit(bool({'tensorflow', 'keras', 'mlflow'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_reference_holds_every_job() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("[a-z]*.py")}
    assert set(JOBS) == jobs


def test_the_architecture_names_every_module_and_no_other() -> None:
    packages = [match[2] for match in module_tables.TABLE.finditer(ARCHITECTURE)]
    layers = {f"dogbreed/{path.name}" for path in (ROOT / "dogbreed").iterdir() if list(path.glob("*.py"))}
    assert set(packages) == {"jobs", *layers}
    assert module_tables.updated(ARCHITECTURE) == ARCHITECTURE, "run: make docs"


def test_every_module_that_the_manuals_run_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"python -m ((?:jobs|bench|tests)\.[a-z_.]+[a-z])", page.read_text()):
            path = ROOT / name.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name} runs {name}"


def test_every_module_and_function_that_the_pages_name_exists() -> None:
    layers = "core|data|models|training|evaluation|tracking|serving|workflows|jobs"
    for page in PAGES:
        for path, name in re.findall(
            rf"`(?:dogbreed/)?((?:{layers})/[a-z0-9_/]+\.py)(?::([A-Za-z_.]+))?`", page.read_text()
        ):
            file = ROOT / path if path.startswith("jobs/") else ROOT / "dogbreed" / path
            assert file.exists(), f"{page.name} names {path}"
            for part in filter(None, name.split(".")):
                assert re.search(rf"\b(def|class) {part}\b", file.read_text()), f"{page.name} names {path}:{name}"


def test_the_architecture_names_the_features_of_an_example() -> None:
    example = json.loads((ROOT / "tests/golden/expected/example.json").read_text())
    told = set()
    for name in re.findall(r"^\| `(image/[^`]+)` \|", ARCHITECTURE, re.MULTILINE):
        prefix, _, rest = name.partition("{")
        ends = rest.rstrip("}").split(",") if rest else [""]
        told |= {f"{prefix}{end}" for end in ends}
    assert told == set(example)


def test_the_architecture_names_every_exit_code() -> None:
    codes = json.loads((ROOT / "tests/golden/expected/exit-codes.json").read_text())
    used = {code for group in codes.values() for code in group.values()}
    rows = re.findall(r"^\| ([0-9, ]+) \|", section(ARCHITECTURE, "Exit codes"), re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == used | {0}


def test_every_option_that_prose_names_exists() -> None:
    known = set(re.findall(r"--[a-z-]+", "".join(help_text(job) for job in JOBS))) | OTHER_OPTIONS
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        named = set(re.findall(r"`(--[a-z-]+)[^`]*`", prose))
        assert named <= known, f"{page.name} names {sorted(named - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path.read_text()), f"{page.name} links to {target}#{anchor}"


def test_the_glossary_is_sorted_and_each_term_has_one_line() -> None:
    lines = [line for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if line.startswith("- ")]
    terms = [found[1] for line in lines if (found := re.match(r"- \*\*(.+?)\*\*: \S", line))]
    assert len(terms) == len(lines) >= 50
    assert terms == sorted(terms, key=str.lower)


def told_names() -> list[str]:
    """Return the names and patterns of metrics and tags in the architecture: {a,b} expanded, <split> and <n> any."""
    spans = re.findall(r"`([^`\n]+)`", section(ARCHITECTURE, "Tracking") + section(ARCHITECTURE, "Evaluation"))
    told = []
    for span in spans:
        ends = re.fullmatch(r"(.*)\{(.+)\}(.*)", span)
        names = [f"{ends[1]}{end}{ends[3]}" for end in ends[2].split(",")] if ends else [span]
        told += [re.sub(r"<[a-z]+>", "*", name) for name in names]
    return told


@pytest.mark.parametrize("run", ["preprocess", "train", "fine-tuned", "evaluate", "predict"])
def test_the_architecture_names_every_metric_and_tag_of_a_run(run: str) -> None:
    literal = json.loads((ROOT / f"tests/golden/expected/run-{run}.json").read_text())
    tags = {tag for tag in literal["tags"] if tag.startswith("dogbreed.")}
    metrics = {
        re.sub(r"^test_|_ci95_(low|high)$", "", name) if run == "evaluate" else name for name in literal["metrics"]
    }
    unknown = [name for name in metrics | tags if not any(fnmatchcase(name, told) for told in told_names())]
    assert unknown == []


def test_the_architecture_names_every_metric_of_an_evaluation() -> None:
    metrics = json.loads((ROOT / "tests/golden/expected/evaluation-metrics.json").read_text())
    plain = {re.sub(r"_ci95_(low|high)$", "", name) for name in metrics}
    assert [name for name in plain if not any(fnmatchcase(name, told) for told in told_names())] == []
