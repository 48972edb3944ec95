"""jobs.train by two and three processes: equal to one process, and what happens when a worker ends early."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dogbreed.models import keras_applications
from tests.support.attempt import KILLED, Outcome
from tests.support.e2e.stack import eventually
from tests.support.faults.worker_team import TOTAL, Team, start_program
from tests.support.watched_job import Kill

STOPPED, LOST = 143, 75
RESTART_WITHIN = 300.0  # seconds for a new process to join and to train to its end
LOST_WITHIN = 60.0  # seconds from the end of a worker to the end of the others
TOLERANCE = 1e-4  # of losses (relative) and weights: sums in another order; 1e-6 was seen
pytestmark = pytest.mark.timeout(900)  # up to seven processes a test, each of which makes and traces a model


@pytest.fixture(scope="module")
def pair(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """A finished training by two workers that nobody hurt."""
    return finished(dataset, tmp_path_factory.mktemp("pair"), 2, "--deterministic")


@pytest.fixture(scope="module")
def one(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """The same training by one process."""
    return finished(dataset, tmp_path_factory.mktemp("one"), 1)


def finished(dataset: Path, folder: Path, workers: int, *options: str) -> Team:
    team = Team(dataset, folder, *options)
    outcomes = team.run(workers)
    assert [outcome.exit_code for outcome in outcomes] == [0] * workers, outcomes[-1].stderr
    assert [len(outcome.calls) for outcome in outcomes] == [TOTAL] * workers
    return team


def assert_equal_to_one_process(team: Team, workers: int, one: Team) -> None:
    hashes = {(summary["weights_sha256"], summary["optimizer_sha256"]) for summary in team.summaries(workers)}
    assert len(hashes) == 1
    assert len({summary["run_id"] for summary in team.summaries(workers)}) == 1
    ours, theirs = team.series(), one.series()
    assert ours.keys() == theirs.keys()
    for name in ("loss", "top1", "val_loss", "val_top1", "learning_rate"):
        values = [[value for _, value in series[name]] for series in (ours, theirs)]
        assert values[0] == pytest.approx(values[1], rel=TOLERANCE), name
    for mine, other in zip(team.weights(), one.weights(), strict=True):
        assert np.abs(mine - other).max() < TOLERANCE


@pytest.mark.long
def test_two_workers_end_with_the_weights_of_one_process(pair: Team, one: Team) -> None:
    assert_equal_to_one_process(pair, 2, one)


@pytest.mark.long
def test_three_workers_end_with_the_weights_of_one_process(dataset: Path, one: Team, tmp_path: Path) -> None:
    assert_equal_to_one_process(finished(dataset, tmp_path, 3), 3, one)


@pytest.mark.long
def test_two_workers_with_batch_statistics_of_their_own_end_with_equal_weights(dataset: Path, tmp_path: Path) -> None:
    team = finished(dataset, tmp_path, 2, "--set", "batch_norm=per-replica")
    assert len({(summary["weights_sha256"], summary["optimizer_sha256"]) for summary in team.summaries(2)}) == 1


def assert_resumes(team: Team, workers: int, undisturbed: Team) -> None:
    """Start all again: they take the steps that follow the last checkpoint, once, and end as if nothing had been."""
    saved = max(int(path.parent.name.split("-")[0]) for path in team.folder.glob("checkpoints/*/*/COMMIT.json"))
    outcomes = team.run(workers)
    assert [outcome.exit_code for outcome in outcomes] == [0] * workers, outcomes[-1].stderr
    assert [len(outcome.calls) for outcome in outcomes] == [TOTAL - saved] * workers
    assert all(f"resuming after step {saved}," in outcome.stderr for outcome in outcomes)
    assert team.series() == undisturbed.series()
    hashes = [[summary[f"{name}_sha256"] for name in ("weights", "optimizer")] for summary in team.summaries(workers)]
    assert hashes == [[undisturbed.summaries(1)[0][f"{name}_sha256"] for name in ("weights", "optimizer")]] * workers


@pytest.mark.long
def test_a_killed_worker_ends_the_others_and_all_go_on_from_the_last_checkpoint(
    dataset: Path, pair: Team, tmp_path: Path
) -> None:
    team = Team(dataset, tmp_path, "--deterministic")
    chief, victim = team.start(2, {1: Kill(6)})
    assert victim.wait().exit_code == KILLED
    ended_in_time(chief.wait, LOST)
    assert_resumes(team, 2, pair)


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_a_stopped_worker_ends_with_143_and_the_others_with_75(
    dataset: Path, pair: Team, tmp_path: Path, victim: int
) -> None:
    team = Team(dataset, tmp_path, "--deterministic")
    attempts = team.start(2)
    stopped = attempts[victim].wait_for(5).kill_after(0, signal.SIGTERM)
    assert stopped.exit_code == STOPPED, stopped.stderr
    ended_in_time(attempts[1 - victim].wait, LOST)
    assert_resumes(team, 2, pair)


def ended_in_time(wait: Callable[[], Outcome], code: int) -> None:
    began = time.monotonic()
    outcome = wait()
    assert outcome.exit_code == code, outcome.stderr
    assert time.monotonic() - began < LOST_WITHIN
    assert "Traceback" not in outcome.stderr


def kill_and_replace(team: Team, moment: str) -> str:
    """Kill worker 1 once the chief has logged `moment`, start it again, and return what the chief has logged."""
    orders = team.orders(2)
    started = [start_program(order) for order in orders]
    chief, victim = started
    try:
        eventually(lambda: moment in orders[0].stderr.read_text(), moment, RESTART_WITHIN)
        victim.kill()
        started.append(start_program(orders[1]))
        assert [process.wait(RESTART_WITHIN) for process in (victim, chief, started[-1])] == [KILLED, 0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return orders[0].stderr.read_text()


def test_with_max_restarts_the_others_restart_and_wait_for_a_killed_worker(
    dataset: Path, pair: Team, tmp_path: Path
) -> None:
    team = Team(dataset, tmp_path, "--deterministic", "--max-restarts", "1")
    messages = kill_and_replace(team, "checkpoint of step")
    assert "restarting this worker (1 of at most 1 times)" in messages
    assert "resuming after step" in messages
    assert team.series() == pair.series()
    hashes = [{summary["weights_sha256"] for summary in one.summaries(2)} for one in (team, pair)]
    assert hashes[0] == hashes[1]


@pytest.mark.long
@pytest.mark.parametrize("moment", ["phase head", "phase full"])
def test_fine_tuning_by_two_workers_of_which_one_is_killed_ends_as_by_one_process(
    dataset: Path, tmp_path: Path, moment: str
) -> None:
    weights = tmp_path / "mobilenet-0.25.weights.h5"
    keras_applications.application("MobileNet 0.25", 32).save_weights(weights)
    settings = ("model=mobilenet-0.25", "head.epochs=2", "trainable_fraction=0.3")
    options = ("--weights", str(weights), "--deterministic", *(word for s in settings for word in ("--set", s)))
    alone = Team(dataset, tmp_path / "one", *options)
    assert alone.run(1)[0].exit_code == 0
    team = Team(dataset, tmp_path / "two", *options, "--max-restarts", "1")
    messages = kill_and_replace(team, moment)
    assert "restarting this worker (1 of at most 1 times)" in messages
    assert len({summary["weights_sha256"] for summary in team.summaries(2)}) == 1
    assert team.summaries(1)[0]["val_top1"] == pytest.approx(alone.summaries(1)[0]["val_top1"], abs=0.01)
