"""One training by one, two and three processes, and by two of which one is killed, as a table (a few minutes)."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.jobs import job
from tests.faults.attempt import Outcome
from tests.faults.job import Kill
from tests.faults.workers import Team

KILLED_AT = 6  # steps
COLUMNS = ("training", "exit codes", "steps of each", "weights of all", "weights off by", "losses off by")


def compared(team: Team, workers: int, alone: Team) -> tuple[str, str, str]:
    """Say whether all workers have the same weights, and how far weights and losses are from those of one process."""
    equal = len({summary["weights_sha256"] for summary in team.summaries(workers)}) == 1
    weights = max(float(np.abs(a - b).max()) for a, b in zip(team.weights(), alone.weights(), strict=True))
    ours, theirs = (np.array(one.series()["loss"] + one.series()["val_loss"])[:, 1] for one in (team, alone))
    return "equal" if equal else "DIFFERENT", f"{weights:.1e}", f"{np.abs(ours / theirs - 1).max():.1e}"


def told(values: Callable[[Outcome], object], outcomes: list[Outcome]) -> str:
    """Return a value of each worker."""
    return ", ".join(str(values(outcome)) for outcome in outcomes)


def main() -> None:
    """Print the table."""
    table = Table(*COLUMNS, title="The same global batches by several processes, against one process")
    with tempfile.TemporaryDirectory() as home:
        raw, data, teams = f"{home}/raw", f"{home}/data", list[Team]()

        def row(name: str, team: Team, outcomes: list[Outcome], *rest: str) -> None:
            codes = told(lambda outcome: outcome.exit_code, outcomes)
            table.add_row(name, codes, told(lambda outcome: len(outcome.calls), outcomes), *rest)

        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db"}
        job("fetch", "--source", "synthetic", "--classes", "4", "--per-class", "12", "--raw", raw)
        job("preprocess", "--source", "synthetic", "--raw", raw, "--out", data, "--size", "32", **environment)
        for workers in (1, 2, 3):
            teams.append(team := Team(Path(data), Path(home) / str(workers)))
            row(f"{workers} processes", team, team.run(workers), *compared(team, workers, teams[0]))
        team = Team(Path(data), Path(home) / "killed")
        row(f"2, one killed at step {KILLED_AT}", team, [one.wait() for one in team.start(2, {1: Kill(KILLED_AT)})])
        row("the same, started again", team, team.run(2), *compared(team, 2, teams[0]))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
