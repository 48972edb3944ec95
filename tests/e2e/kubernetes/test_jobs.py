"""The Jobs of k8s/ on a cluster: their results, and what killed pods change."""

from collections.abc import Callable

import pytest

from bench.jobs import job as run_job
from tests.support.e2e.cluster import Pod, RunningJob, Submit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def digest(prefix: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the dataset that one process makes on this machine."""
    folder = tmp_path_factory.mktemp("plain")
    tracking = f"sqlite:///{folder}/mlflow.db"
    run_job("fetch", "--source", "synthetic", "--raw", f"{folder}/raw", MLFLOW_TRACKING_URI=tracking)
    options = ("--raw", f"{folder}/raw", "--out", f"{folder}/out", "--size", "64", "--shards", "8")
    made = run_job("preprocess", *options, "--name", f"{prefix}-killed", MLFLOW_TRACKING_URI=tracking)
    return str(made["digest"])


def digests(job: RunningJob) -> set[str]:
    return {summary["digest"] for summary in job.summaries().values() if summary["manifest"]}


def is_attempt(job: RunningJob, index: int, attempt: int) -> Callable[[Pod], bool]:
    """Return a condition for the pod of an index after so many others, once it has printed something."""
    return lambda pod: pod.output != "" and [p.name for p in job.pods if p.index == index][attempt:] == [pod.name]


def test_the_preflight_finds_everything_within_its_limits(submit: Submit) -> None:
    with submit("preflight") as job:
        assert job.await_end().condition == "Complete", job.output()
        assert job.pods[0].summary["memory"] == "3.0 GiB are available, 2 are needed"
        assert job.pods[0].summary["scratch"].startswith("/work: ")


@pytest.mark.usefixtures("node", "raw")
def test_four_pods_of_which_one_is_killed_twice_make_the_dataset_of_a_plain_run(
    submit: Submit, prefix: str, digest: str
) -> None:
    with submit("preprocess", f"--out s3://dogbreed/{prefix}/killed --name {prefix}-killed") as job:
        for attempt in (0, 1):
            job.await_pod(is_attempt(job, 2, attempt), f"attempt {attempt} of index 2").kill()
        assert job.await_end().condition == "Complete", job.output()
        assert [code for index, code in job.codes if index == 2] == [137, 137, 0]
        assert sorted(index for index, code in job.codes if code == 0) == [0, 1, 2, 3]
        assert job.status["failed"] == 2
        assert digests(job) == {digest}


def test_a_wrong_recipe_fails_at_once_and_says_why(submit: Submit, data: str) -> None:
    with submit("train", f"--data {data} --recipe smple-64") as job:
        assert job.await_end().condition == "Failed"
        assert job.codes == [(0, 2)], "one pod, no other try"
        assert "smple-64" in job.output()
