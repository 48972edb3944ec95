"""Trainings whose pods are killed, evicted and drained: the model of one that nobody disturbed, in one MLflow run."""

from collections.abc import Callable

import pytest

from tests.support.e2e.cluster import Pod, RunningJob, Submit
from tests.support.e2e.endings import delete, drain, evict, kill
from tests.support.e2e.trainings import OPTIONS, assert_like, checkpoints
from tests.support.kubernetes.manifests import Object

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600), pytest.mark.usefixtures("uncordoned")]


def test_a_pod_killed_four_ways_leaves_the_model_of_an_undisturbed_training(
    submit: Submit, data: str, undisturbed: Object
) -> None:
    ways: tuple[Callable[[Pod], None], ...] = (delete, kill, evict, drain)
    with submit("train", f"--data {data} {OPTIONS}") as job:
        for number, end in enumerate(ways):
            end(job.await_pod(has_saved(job, number), f"a checkpoint of attempt {number}"))
        assert job.await_end().condition == "Complete", job.output()
        codes = [code for _, code in job.codes]
        assert [*codes[:3], codes[4]] == [143, 137, 143, 0]
        assert codes[3] in (137, 143), "without a store the last checkpoint may take longer than the grace period"
        assert job.status["failed"] == 1, "SIGKILL alone is counted"
        print(f"\nseconds from the end of a pod to the next one: {job.pauses()}")
        assert_like(undisturbed, job)


def has_saved(job: RunningJob, attempt: int) -> Callable[[Pod], bool]:
    """Return a condition for the pod after so many others, once it has written a checkpoint."""
    return lambda pod: checkpoints(pod.output) > 0 and [p.name for p in job.pods][attempt:] == [pod.name]
