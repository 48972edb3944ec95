"""SIGKILL: before and after each call to the store, and from outside at random moments."""

import random
from collections.abc import Iterable

from tests.support.attempt import KILLED, Attempt, Outcome, attempt
from tests.support.faults.preprocess_sites import FolderSite, Place, Site
from tests.support.faults.rows import Row, mlflow_runs, run_again
from tests.support.watched_job import LINKS, Kill

CHAIN = 3  # at most so many kills before a run is left alone
KEYS = ("shards/", "_parts/", "manifest.json")


def every_moment(calls: int) -> list[Kill]:
    """Return a kill before and one after each of so many calls."""
    return [Kill(call, after) for call in range(1, calls + 1) for after in (False, True)]


def some_moments(calls: int) -> list[Kill]:
    """Return a kill before and one after five of so many calls."""
    return [Kill(1 + number * (calls - 1) // 4, after) for number in range(5) for after in (False, True)]


def commits(site: Site) -> list[Kill]:
    """Return the kills before and after the puts of the first shard, the first part and the manifest."""
    calls = site.clean.calls
    first = [next(n for n, call in enumerate(calls, 1) if key in call and call.startswith("put")) for key in KEYS]
    return [Kill(call, after) for call in first for after in (False, True)]


def at_calls(site: Site, kills: Iterable[Kill]) -> Row:
    """Kill a job of its own at each of these calls to --out, then run it again."""
    row = Row(f"killed before and after calls to --out ({site.name})")
    for kill in kills:
        place = site.place(tracked=True)
        _kill_at(row, place, kill, place.out)
    return row


def at_calls_to_raw(site: Site) -> Row:
    """The same at some of the calls to --raw, nearly all of which read a photo."""
    row = Row(f"killed before and after some calls to --raw ({site.name})")
    calls = len(site.undisturbed(site.place(tracked=True), watched=site.raw).calls)
    for kill in some_moments(calls):
        _kill_at(row, site.place(tracked=True), kill, site.raw)
    return row


def inside_puts(site: FolderSite, kills: Iterable[Kill]) -> Row:
    """The same inside a folder's puts: when the file is written but no object yet, and when it is one."""
    row = Row(f"killed inside a put, before and after the link ({site.name})")
    for kill in kills:
        _kill_at(row, site.place(tracked=True), kill, LINKS)
    return row


def _kill_at(row: Row, place: Place, kill: Kill, watched: str) -> None:
    outcome = attempt(place.order(kill=kill, watched=watched))
    problems = row.ended(outcome, KILLED)
    row.judge(problems + _recover(row, place), f"{kill} ({outcome.calls[-1:]})")


def at_random(site: Site, kills: int, seed: int, committing: bool = False) -> Row:
    """Kill jobs at random moments until so many were killed: one to three in a row, then a run that is left alone.

    The moments are uniform over a clean run from its first call to a store on or, with `committing`, over the short
    time in which it puts its objects.
    """
    when = ", while it commits" if committing else ""
    row, choice = Row(f"killed at random moments{when} ({site.name})"), random.Random(seed)
    window = site.clean.commits if committing else site.clean.run
    while row.exit_codes[KILLED] < kills:
        place, problems = site.place(tracked=True), list[str]()
        length = min(choice.randint(1, CHAIN), kills - row.exit_codes[KILLED])
        delays = [choice.uniform(*window) for _ in range(length)]
        for delay in delays:
            outcome = Attempt(place.order()).kill_after(delay)
            problems += row.ended(outcome, KILLED, 0)  # 0: it was faster
            row.seen[_moment(outcome)] += outcome.exit_code == KILLED
        row.judge(problems + _recover(row, place), f"killed after {delays} s")
    return row


def _moment(outcome: Outcome) -> str:
    """Say how far a killed job had come."""
    if "put manifest.json" in outcome.calls:
        return "killed after the manifest"
    committing = any(call.startswith("put") for call in outcome.calls)
    return "killed between first put and manifest" if committing else "killed before the first put"


def _recover(row: Row, place: Place) -> list[str]:
    problems = run_again(row, place)
    runs = mlflow_runs(place.database) - mlflow_runs(place.site.template)
    row.seen["MLflow runs left running"] += runs["RUNNING"]
    row.seen["temporary files beside the prefix"] += len(list(place.folder.glob(".dogbreed-*")))
    return problems if runs["FINISHED"] == 1 else [*problems, f"MLflow has {runs['FINISHED']} finished runs, not one"]
