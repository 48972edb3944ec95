"""The Jobs of k8s/ on a cluster: their results, and what killed pods change."""

from collections.abc import Callable

import pytest

from tests.support.e2e.cluster import Pod, RunningJob, Submit
from tests.support.e2e.endings import delete, drain, evict, kill

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def is_attempt(job: RunningJob, index: int, attempt: int) -> Callable[[Pod], bool]:
    """Return a condition for the pod of an index after so many others, once it has printed something."""
    return lambda pod: pod.output != "" and [p.name for p in job.pods if p.index == index][attempt:] == [pod.name]


def test_the_preflight_finds_everything_within_its_limits(submit: Submit) -> None:
    with submit("preflight") as job:
        assert job.await_end().condition == "Complete", job.output()
        assert job.pods[0].summary["memory"] == "3.0 GiB are available, 2 are needed"
        assert job.pods[0].summary["scratch"].startswith("/work: ")


@pytest.mark.usefixtures("node", "raw")
def test_four_pods_that_are_killed_deleted_and_evicted_make_the_dataset_of_a_plain_run(
    submit: Submit, prefix: str, digest: str
) -> None:
    with submit("preprocess", f"--out s3://dogbreed/{prefix}/killed --name {prefix}") as job:
        for index, attempt, end in ((2, 0, kill), (0, 0, delete), (1, 0, evict), (2, 1, kill)):
            end(job.await_pod(is_attempt(job, index, attempt), f"attempt {attempt} of index {index}"))
        assert job.await_end().condition == "Complete", job.output()
        codes = {index: [code for i, code in job.codes if i == index] for index in range(4)}
        assert codes == {0: [143, 0], 1: [143, 0], 2: [137, 137, 0], 3: [0]}
        assert job.status["failed"] == 2, "SIGKILL alone is counted"
        assert job.digests() == {digest}


@pytest.mark.usefixtures("uncordoned", "raw")
def test_four_pods_on_a_node_that_is_drained_make_the_dataset_of_a_plain_run(
    submit: Submit, prefix: str, digest: str
) -> None:
    with submit("preprocess", f"--out s3://dogbreed/{prefix}/drained --name {prefix}") as job:
        drain(job.await_pod(is_attempt(job, 0, 0), "a start"))
        assert job.await_end().condition == "Complete", job.output()
        print(f"\nindices and exit codes: {job.codes}")
        assert job.digests() == {digest}


def test_a_wrong_recipe_fails_at_once_and_says_why(submit: Submit, data: str) -> None:
    with submit("train", f"--data {data} --recipe smple-64") as job:
        assert job.await_end().condition == "Failed"
        assert job.codes == [(0, 2)], "one pod, no other try"
        assert "smple-64" in job.output()
