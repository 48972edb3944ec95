"""`python -m tests.support.module_tables` writes the module tables of docs/architecture.md.

A table has one row for each module of its package: the first sentence of the module's docstring.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
HEAD = "| module | content |\n|---|---|\n"
TABLE = re.compile(rf"(### `([a-z_/]+)/`\n\n{re.escape(HEAD)})((?:\| `.*\n)*)")


def modules(package: str) -> list[str]:
    """Return the modules of a package relative to it; an `__init__.py` only if it contains code."""
    folder = ROOT / package
    files = [path for path in folder.rglob("*.py") if path.name != "__init__.py" or _has_code(path)]
    return sorted(str(path.relative_to(folder)) for path in files)


def _has_code(path: Path) -> bool:
    found = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in found)


def updated(page: str) -> str:
    """Return the page with one row for each module of the packages that have a table."""

    def replace(match: re.Match[str]) -> str:
        rows = (f"| `{name}` | {_summary(ROOT / match[2] / name)} |\n" for name in modules(match[2]))
        return match[1] + "".join(rows)

    return TABLE.sub(replace, page)


def _summary(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".").replace("|", "/")


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
