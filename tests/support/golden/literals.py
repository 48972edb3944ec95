"""Literals of every format, hash and name that outlives a process, as committed in `tests/golden/expected/`.

A literal is edited by hand, together with the change that means to change it: nothing here writes one, and no test
computes one with the code that it checks.
"""

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

EXPECTED = Path(__file__).parents[2] / "golden" / "expected"


def read_literal(name: str) -> bytes:
    """Return the bytes of a literal; a binary one is committed as hexadecimal digits, `<name>.hex`."""
    digits = EXPECTED / f"{name}.hex"
    return bytes.fromhex(digits.read_text()) if digits.exists() else (EXPECTED / name).read_bytes()


def read_json(name: str) -> Any:
    """Return what a JSON literal holds."""
    return json.loads(read_literal(name))


def assert_text(name: str, found: str) -> None:
    """Fail with a diff unless `found` is the literal, character by character."""
    _fail_on_difference(name, read_literal(name).decode(), found)


def assert_json(name: str, found: Any) -> None:
    """Fail with a diff unless `found` holds what the JSON literal does; the order of keys does not count."""
    _fail_on_difference(name, _pretty(read_json(name)), _pretty(json.loads(json.dumps(found))))


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)


def _fail_on_difference(name: str, expected: str, found: str) -> None:
    if expected == found:
        return
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), f"expected/{name}", "found", lineterm="")
    difference = "\n".join(lines) or "only the line ends differ"
    pytest.fail(f"tests/golden/expected/{name} is not what the code gives\n{difference}", pytrace=False)
