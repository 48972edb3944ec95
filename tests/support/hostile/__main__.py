"""`python -m tests.support.hostile` checks every corpus and prints what became of it; 1 when anything is wrong."""

import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from tests.support.hostile.run import CORPORA, Report, check, report
from tests.support.hostile.verdict import ACCEPTED, QUARANTINED, REFUSED, TRACEBACK

PEAK_LIMIT_MB = 1500
SHOWN = 10  # wrong items of a corpus that are named
COLUMNS = ("items", REFUSED, QUARANTINED, ACCEPTED, "silent", "tracebacks", "peak MB", "seconds")


def main() -> int:
    """Print the table and return the exit status."""
    table, wrong = Table("corpus", title="hostile corpora"), []
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for corpus in CORPORA:
        found = report(corpus)
        table.add_row(corpus, *_row(found))
        bad = [verdict for verdict in found.verdicts if not verdict.right]
        wrong += [f"{corpus} | {v.name}: {v.outcome[:300]}; expected {v.expected}" for v in bad[:SHOWN]]
        wrong += [f"{corpus}: peak {found.peak_mb:.0f} MB"] if found.peak_mb > PEAK_LIMIT_MB else []
    Console(width=120).print(table)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


def _row(found: Report) -> list[str]:
    kinds = Counter(verdict.kind for verdict in found.verdicts)
    silent = sum(verdict.silent for verdict in found.verdicts)
    accepted = kinds[ACCEPTED] - silent
    numbers = (len(found.verdicts), kinds[REFUSED], kinds[QUARANTINED], accepted, silent, kinds[TRACEBACK])
    return [*map(str, numbers), f"{found.peak_mb:.0f}", f"{found.seconds:.1f}"]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check(sys.argv[1])
    else:
        sys.exit(main())
