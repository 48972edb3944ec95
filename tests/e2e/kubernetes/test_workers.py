"""One training by several pods, of which single ones are lost: the others keep their pods and wait for the new one."""

import time

import pytest

from tests.support.e2e.cluster import RunningJob, Submit
from tests.support.e2e.endings import delete, kill
from tests.support.e2e.trainings import assert_like, await_checkpoint, train_by_workers
from tests.support.kubernetes.manifests import Object

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(7200), pytest.mark.usefixtures("node")]
BETWEEN = 15  # seconds between two losses of a burst
RESTARTED = "restarting this worker"


def lose(job: RunningJob, losses: int, workers: int, burst: int = 1) -> None:
    """End one pod after another, by SIGKILL and deletion in turn: `burst` of them after each new checkpoint."""
    for number in range(losses):
        if number % burst:
            time.sleep(BETWEEN)  # the others are in the middle of a restart
        else:
            await_checkpoint(job, 900)
        [victim] = [pod for pod in job.pods if pod.is_running and pod.index == number % workers]
        if number // workers % 2 != number % 2:
            delete(victim)
        else:
            kill(victim)


def assert_recovered(job: RunningJob, losses: int, workers: int, burst: int = 1) -> None:
    """All are done with the same weights; no pod but those that were ended was lost."""
    assert job.await_end(1800).condition == "Complete", job.output()
    assert len(job.pods) == workers + losses, job.codes
    assert sorted(job.summaries()) == list(range(workers))
    assert len({summary["weights_sha256"] for summary in job.summaries().values()}) == 1
    resumed = job.output(0).count("resuming after step")
    restarts = sum(pod.output.count(RESTARTED) for pod in job.pods)
    print(f"\n{workers} workers, {losses} losses: {restarts} restarted processes,", end=" ")
    print(f"longest pause {max(job.pauses()):.0f} s")
    assert resumed >= losses // burst
    assert restarts >= losses // burst * (workers - burst)


@pytest.mark.parametrize(
    ("workers", "losses", "burst", "epochs"),
    [(4, 1, 1, 4), (8, 2, 1, 6), pytest.param(8, 20, 4, 12, marks=pytest.mark.long)],
)
def test_the_others_wait_for_a_lost_worker(
    submit: Submit, data: str, workers: int, losses: int, burst: int, epochs: int
) -> None:
    with train_by_workers(submit, data, workers, epochs) as job:
        lose(job, losses, workers, burst)
        assert_recovered(job, losses, workers, burst)


def test_two_workers_of_which_each_is_lost_once_make_the_model_of_an_undisturbed_training(
    submit: Submit, data: str, pair: Object
) -> None:
    with train_by_workers(submit, data, 2, pair["epochs"]) as job:
        lose(job, 2, 2)
        assert_recovered(job, 2, 2)
        assert_like(pair, job)
