"""Jobs in a queue of Kueue: admitted with all of their pods or none, preempted by priority, continued afterwards."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.e2e.cluster import Submit, get, kubectl
from tests.support.e2e.stack import eventually
from tests.support.e2e.trainings import WORKER_OPTIONS, assert_like, await_checkpoint
from tests.support.kubernetes.manifests import ROOT, Object

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
CPU = "250m"  # two pods of 100m fit, three do not


@pytest.fixture(scope="module", autouse=True)
def queue(stack: None) -> Iterator[None]:
    """The queue of k8s/queue, with less CPU."""
    if "clusterqueues" not in kubectl("api-resources", "--api-group=kueue.x-k8s.io", "--output=name", check=False):
        pytest.skip("needs Kueue in the cluster, for example that of `make cluster KUEUE=1`")
    kubectl("apply", "--kustomize", str(ROOT / "k8s" / "queue"))
    [group] = get("clusterqueue", "dogbreed")["spec"]["resourceGroups"]
    [cpu] = [resource for resource in group["flavors"][0]["resources"] if resource["name"] == "cpu"]
    cpu["nominalQuota"] = CPU
    patch = json.dumps({"spec": {"resourceGroups": [group]}})
    kubectl("patch", "clusterqueue", "dogbreed", "--type=merge", "--patch", patch)
    yield
    kubectl("delete", "--kustomize", str(ROOT / "k8s" / "queue"))


def queued(job: Object) -> Object:
    """Put a Job into the queue, as the component `kueue` does."""
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "dogbreed"
    return job


def test_a_job_that_does_not_fit_starts_no_pod_and_says_why(submit: Submit, data: str) -> None:
    with submit("train-multiworker", f"--data {data} {WORKER_OPTIONS}", queued, WORKERS="4") as job:
        command = ["make", "wait", f"JOB={job.name}"]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as wait:
            lines = [wait.stderr.readline() if wait.stderr else "" for _ in range(2)]
            wait.terminate()
        assert "suspended: it waits in the queue dogbreed: " in lines[1], lines
        print(f"\n{lines[1]}", end="")
        assert job.pods == []
        assert get("job", job.name)["spec"]["suspend"]


def test_a_job_of_higher_priority_preempts_one_of_lower_which_continues(
    submit: Submit, data: str, pair: Object
) -> None:
    options = f"--data {data} {WORKER_OPTIONS} --epochs {pair['epochs']}"
    with submit("train-multiworker", options, queued, PRIORITY="low") as preempted:
        await_checkpoint(preempted)
        with submit("train", f"--data {data} --epochs 1", queued, PRIORITY="high") as urgent:
            eventually(lambda: get("job", preempted.name)["spec"]["suspend"], "the preemption")
            assert urgent.await_end().condition == "Complete", urgent.output()
        assert preempted.await_end().condition == "Complete", preempted.output()
        assert len(preempted.pods) == 4, "both, twice"
        assert preempted.status.get("failed", 0) == 0
        assert "resuming after step" in preempted.output()
        assert_like(pair, preempted)
