"""Markdown from Jinja templates, with filters for percentages."""

import math
from typing import Any

from jinja2 import Environment, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Return the text of a template, which may also call `percent` and `interval`. Nothing is escaped."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(template).render(values, percent=percent, interval=interval)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal."""
    return f"{fraction:.1%}"


def interval(low: float | None, high: float | None) -> str:
    """Return both ends as percentages, an empty string if one is unknown (None or NaN)."""
    known = [end for end in (low, high) if end is not None and not math.isnan(end)]
    return " to ".join(map(percent, known)) if len(known) == 2 else ""
