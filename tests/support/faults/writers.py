"""Several jobs at one prefix at the same time."""

from collections.abc import Iterable

from tests.support.attempt import Attempt, Outcome
from tests.support.faults.preprocess_sites import Place, Site
from tests.support.faults.rows import Row, differences, mlflow_runs, run_again, unclear_error

DONE, CONTRADICTED = 0, 65


def at_once(place: Place, commands: Iterable[tuple[str, ...]]) -> list[Outcome]:
    """Run one job for each set of options, all at the same time."""
    running = [Attempt(place.order(*options)) for options in commands]
    return [job.wait() for job in running]


def same_options(site: Site, rounds: int) -> Row:
    """Three jobs with the same options: all succeed and leave what one leaves."""
    row = Row(f"three writers, same options ({site.name})")
    for number in range(rounds):
        place = site.place(tracked=True)
        problems = [text for outcome in at_once(place, [()] * 3) for text in row.ended(outcome, DONE)]
        problems += differences(place.objects(), site.clean.objects)
        runs = mlflow_runs(place.database) - mlflow_runs(site.template)
        row.seen["MLflow runs"] += runs.total()
        row.judge(problems, f"round {number}")
    return row


def different_options(site: Site, rounds: int) -> Row:
    """Three jobs with three seeds: one succeeds, two end with 65, and --gc leaves what the winner alone leaves."""
    row = Row(f"three writers, different options ({site.name})")
    seeds = [("--seed", str(seed)) for seed in range(3)]
    alone = [_alone(site, seed) for seed in seeds]
    for number in range(rounds):
        place = site.place()
        outcomes = at_once(place, seeds)
        problems = [text for outcome in outcomes for text in row.ended(outcome, DONE, CONTRADICTED)]
        winners = [position for position, outcome in enumerate(outcomes) if outcome.exit_code == DONE]
        for outcome in outcomes:
            problems += unclear_error(outcome, "another") if outcome.exit_code == CONTRADICTED else []
        if len(winners) == 1:
            site.undisturbed(place, "--gc")
            problems += differences(place.objects(), alone[winners[0]])
        else:
            problems.append(f"{len(winners)} of three writers succeeded, not one")
        row.judge(problems, f"round {number}")
    return row


def _alone(site: Site, options: tuple[str, ...]) -> dict[str, bytes]:
    place = site.place()
    site.undisturbed(place, *options)
    return place.objects()


def fixed_shares(site: Site, workers: int, rounds: int = 1) -> Row:
    """So many workers with a fixed share each, all at once; then whoever comes later finds the dataset complete."""
    row = Row(f"{workers} worker{'s' * (workers > 1)} with fixed shares ({site.name})")
    shares = [("--worker-index", str(index), "--workers", str(workers)) for index in range(workers)]
    for number in range(rounds):
        place = site.place()
        problems = [text for outcome in at_once(place, shares) for text in row.ended(outcome, DONE)]
        problems += differences(place.objects(), site.clean.objects)
        row.judge(problems + run_again(row, place, *shares[0]), f"round {number}")
    return row
