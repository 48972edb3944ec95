"""One training by several pods, of which single ones are lost: the others keep their pods and wait for the new one."""

from contextlib import AbstractContextManager

import pytest

from tests.support.e2e.cluster import RunningJob, Submit, kubectl
from tests.support.kubernetes.manifests import Object

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(5400), pytest.mark.usefixtures("node")]
OPTIONS = "--set size=32 --set patience=999 --checkpoint-every 5"
CHECKPOINT = "checkpoint of step"
RESTARTED = "restarting this worker"


def small(job: Object) -> Object:
    """Let eight pods fit on two cores beside the stack."""
    job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "50m"
    return job


def train(submit: Submit, data: str, workers: int, epochs: int) -> AbstractContextManager[RunningJob]:
    arguments = f"--data {data} {OPTIONS} --epochs {epochs}"
    made: AbstractContextManager[RunningJob] = submit("train-multiworker", arguments, small, WORKERS=str(workers))
    return made


def lose(job: RunningJob, losses: int, workers: int) -> None:
    """End one pod after another, each after a new checkpoint, by SIGKILL and deletion in turn."""
    for number in range(losses):
        await_checkpoint(job)
        [victim] = [pod for pod in job.pods if pod.is_running and pod.index == number % workers]
        if number // workers % 2 != number % 2:
            kubectl("delete", "pod", victim.name, "--wait=false")
        else:
            victim.kill()


def await_checkpoint(job: RunningJob) -> None:
    """Wait until the chief has written another checkpoint."""
    before = job.output(0).count(CHECKPOINT)
    job.await_pod(lambda pod: job.output(0).count(CHECKPOINT) > before, "another checkpoint", 900)


def assert_recovered(job: RunningJob, losses: int, workers: int) -> None:
    """All are done with the same weights; no pod but those that were ended was lost."""
    assert job.await_end(1800).condition == "Complete", job.output()
    assert len(job.pods) == workers + losses, job.codes
    assert sorted(job.summaries()) == list(range(workers))
    assert len({summary["weights_sha256"] for summary in job.summaries().values()}) == 1
    resumed = job.output(0).count("resuming after step")
    restarts = sum(pod.output.count(RESTARTED) for pod in job.pods)
    print(f"\n{workers} workers, {losses} losses: {restarts} restarted processes,", end=" ")
    print(f"longest pause {max(job.pauses()):.0f} s")
    assert resumed >= losses
    assert restarts >= losses * (workers - 1)


@pytest.mark.parametrize(
    ("workers", "losses", "epochs"),
    [(2, 1, 6), (4, 1, 4), (8, 2, 6), pytest.param(8, 20, 40, marks=pytest.mark.long)],
)
def test_the_others_wait_for_a_lost_worker(submit: Submit, data: str, workers: int, losses: int, epochs: int) -> None:
    with train(submit, data, workers, epochs) as job:
        lose(job, losses, workers)
        assert_recovered(job, losses, workers)
