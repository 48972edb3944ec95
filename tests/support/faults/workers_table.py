"""One training by one, two and three processes, and by two of which one is killed, as a table (a few minutes)."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.jobs import job
from tests.support.attempt import Outcome
from tests.support.faults.worker_team import Team
from tests.support.watched_job import Kill

KILLED_AT = 6  # steps
COLUMNS = ("training", "exit codes", "steps of each", "weights of all", "weights off by", "losses off by")


def compared(team: Team, workers: int, alone: Team) -> tuple[str, str, str]:
    """Say whether all workers have the same weights, and how far weights and losses are from those of one process."""
    equal = len({summary["weights_sha256"] for summary in team.summaries(workers)}) == 1
    weights = max(float(np.abs(a - b).max()) for a, b in zip(team.weights(), alone.weights(), strict=True))
    ours, theirs = (np.array(one.series()["loss"] + one.series()["val_loss"])[:, 1] for one in (team, alone))
    return "equal" if equal else "DIFFERENT", f"{weights:.1e}", f"{np.abs(ours / theirs - 1).max():.1e}"


def each(values: Callable[[Outcome], object], outcomes: list[Outcome]) -> str:
    """Return a value of each worker."""
    return ", ".join(str(values(outcome)) for outcome in outcomes)


def main() -> bool:
    """Print the table; return whether all trainings ended with 0, with equal weights on all workers."""
    rows: list[tuple[str, list[Outcome], tuple[str, ...]]] = []
    with tempfile.TemporaryDirectory() as home:
        data, teams = dataset(home), list[Team]()
        for workers in (1, 2, 3):
            teams.append(team := Team(data, Path(home) / str(workers)))
            rows.append((f"{workers} processes", team.run(workers), compared(team, workers, teams[0])))
        team = Team(data, Path(home) / "killed")
        killed = [worker.wait() for worker in team.start(2, {1: Kill(KILLED_AT)})]
        rows.append(("the same, started again", team.run(2), compared(team, 2, teams[0])))
        rows.insert(-1, (f"2, one killed at step {KILLED_AT}", killed, ()))
    show(rows)
    return all(
        {outcome.exit_code for outcome in outcomes} == {0} and rest[0] == "equal" for _, outcomes, rest in rows if rest
    )


def dataset(home: str) -> Path:
    """Return a dataset of 48 drawn images."""
    raw, data = f"{home}/raw", f"{home}/data"
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db"}
    job("fetch", "--source", "synthetic", "--classes", "4", "--per-class", "12", "--raw", raw)
    job("preprocess", "--source", "synthetic", "--raw", raw, "--out", data, "--size", "32", **environment)
    return Path(data)


def show(rows: list[tuple[str, list[Outcome], tuple[str, ...]]]) -> None:
    """Print the table."""
    table = Table(*COLUMNS, title="The same global batches by several processes, against one process")
    for name, outcomes, rest in rows:
        codes = each(lambda outcome: outcome.exit_code, outcomes)
        table.add_row(name, codes, each(lambda outcome: len(outcome.calls), outcomes), *rest)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(not main())
