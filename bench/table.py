"""How benchmarks show their rows: what was measured, the peer's and our figure, the ratio and its floor."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One comparison, in a unit of which more is better; `floor` is the least ratio that the suite promises."""

    what: str
    peer: float
    ours: float
    floor: float | None = None

    @property
    def ratio(self) -> float:
        """How many times better ours is than the peer's."""
        return self.ours / self.peer


def show(title: str, unit: str, rows: list[Row]) -> None:
    """Print the rows as a table."""
    table = Table("", f"peer [{unit}]", "ours", "ratio", "at least", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        missed = row.floor is not None and row.ratio < row.floor
        least = "" if row.floor is None else f"{row.floor:g}x{' MISSED' if missed else ''}"
        table.add_row(row.what, f"{row.peer:,.0f}", f"{row.ours:,.0f}", f"{row.ratio:.2f}x", least)
    Console(width=110).print(table)
