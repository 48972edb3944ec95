"""How benchmarks show their rows: what was measured, the peer's and our figure, the ratio and its floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Rate:
    """Images a second of one measurement, and the processor time of all threads for each image."""

    images: float
    core_ms: float

    @classmethod
    def median(cls, rates: Sequence["Rate"]) -> "Rate":
        """Return the medians of several measurements."""
        return cls(median(rate.images for rate in rates), median(rate.core_ms for rate in rates))


@dataclass(frozen=True)
class Row:
    """One comparison, in a unit of which more is better; `floor` is the least ratio that the suite promises."""

    what: str
    peer: float
    ours: float
    floor: float | None = None
    peer_core_ms: float | None = None  # processor time for each image
    core_ms: float | None = None

    @property
    def ratio(self) -> float:
        """How many times better ours is than the peer's."""
        return self.ours / self.peer


def show(title: str, unit: str, rows: list[Row]) -> None:
    """Print the rows as a table."""
    timed = any(row.core_ms is not None for row in rows)
    names = ["", f"peer, {unit}", "ours", "ratio", "at least", *(["peer, core-ms", "ours"] if timed else [])]
    table = Table(*names, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        missed = row.floor is not None and row.ratio < row.floor
        least = "" if row.floor is None else f"{row.floor:g}x{' MISSED' if missed else ''}"
        costs = ["" if cost is None else f"{cost:.3f}" for cost in (row.peer_core_ms, row.core_ms)]
        rates = (f"{row.peer:,.0f}", f"{row.ours:,.0f}", f"{row.ratio:.2f}x", least)
        table.add_row(row.what, *rates, *(costs if timed else []))
    Console(width=140).print(table)
