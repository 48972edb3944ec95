"""What goes wrong in a cluster: servers and the API server away, memory and disk exhausted, a node that is lost."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.e2e.cluster import RunningJob, Submit, kubectl, on_node
from tests.support.e2e.stack import eventually
from tests.support.e2e.trainings import OPTIONS, assert_like, await_checkpoint
from tests.support.kubernetes.manifests import KUBECTL, Object
from tests.support.kubernetes.submit import make

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
AWAY = 60  # seconds
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
GHOST = "ghost"  # a node without a kubelet


def with_limit(memory: str) -> Callable[[Object], Object]:
    """Return a change that lowers the limit of memory, and tries twice only."""

    def change(job: Object) -> Object:
        resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
        resources["limits"]["memory"] = resources["requests"]["memory"] = memory
        job["spec"]["backoffLimit"] = 1
        return job

    return change


def with_scratch(size: str) -> Callable[[Object], Object]:
    """Return a change of the limit of /work, both as volume and for the job."""

    def change(job: Object) -> Object:
        spec = job["spec"]["template"]["spec"]
        [work] = [volume for volume in spec["volumes"] if volume["name"] == "work"]
        [limit] = [v for v in spec["containers"][0]["env"] if v["name"] == "DOGBREED_SCRATCH_LIMIT"]
        work["emptyDir"]["sizeLimit"] = limit["value"] = size
        return job

    return change


def test_a_pod_without_memory_is_named_as_oomkilled(submit: Submit, data: str) -> None:
    with submit("train", f"--data {data} --epochs 1", with_limit("200Mi")) as job:
        assert job.await_end().condition == "Failed"
        assert [code for _, code in job.codes] == [137, 137]
        waited = make("wait", JOB=job.name)
        assert waited.returncode != 0
        assert "ended with 137 (OOMKilled)" in waited.stderr
        assert "absl" not in waited.stderr


def test_a_job_that_would_overfill_its_scratch_volume_fails_before_it_is_evicted(submit: Submit, data: str) -> None:
    with submit("train", f"--data {data} --epochs 1", with_scratch("1Mi")) as job:
        assert job.await_end().condition == "Failed"
        assert job.codes == [(0, 78)], "one pod, which was not evicted"
        waited = make("wait", JOB=job.name)
        print(f"\n{waited.stderr}")
        assert "DOGBREED_SCRATCH_LIMIT" in waited.stderr


def test_a_batch_that_does_not_fit_into_memory_fails_at_once(submit: Submit, data: str) -> None:
    with submit("train", f"--data {data} --batch-size 65536") as job:
        assert job.await_end().condition == "Failed"
        assert job.codes == [(0, 78)], "one pod, no other try"
        assert "use --batch-size" in job.output()


@contextmanager
def away(deployment: str) -> Iterator[None]:
    kubectl("scale", f"deployment/{deployment}", "--replicas=0")
    try:
        yield
    finally:
        kubectl("scale", f"deployment/{deployment}", "--replicas=1")
        kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=5m")


def test_a_training_survives_that_store_and_database_are_away_for_a_minute(
    submit: Submit, data: str, undisturbed: Object
) -> None:
    with submit("train", f"--data {data} {OPTIONS}") as job:
        for server in ("object-store", "postgres"):
            await_checkpoint(job)
            with away(server):
                time.sleep(AWAY)
        assert job.await_end().condition == "Complete", job.output()
        print(f"\nstore, then database away for {AWAY} s: {len(job.pods)} pods, exit codes {job.codes}")
        assert_like(undisturbed, job)


@pytest.mark.usefixtures("raw")
def test_preprocess_survives_a_store_that_is_away_for_a_minute(submit: Submit, prefix: str, digest: str) -> None:
    with submit("preprocess", f"--out s3://dogbreed/{prefix}/away --name {prefix}") as job:
        job.await_pod(lambda pod: pod.output != "", "a start")
        with away("object-store"):
            time.sleep(AWAY)
        assert job.await_end().condition == "Complete", job.output()
        print(f"\nobject-store away for {AWAY} s: {len(job.pods)} pods, exit codes {job.codes}")
        assert job.digests() == {digest}


@pytest.mark.usefixtures("node")
def test_a_wait_survives_a_restart_of_the_api_server(submit: Submit, data: str, undisturbed: Object) -> None:
    with submit("train", f"--data {data} {OPTIONS}") as job, waiting(job) as wait:
        job.await_pod(lambda pod: True, "a pod")
        on_node("mv", MANIFEST, "/root/kube-apiserver.yaml")
        try:
            eventually(lambda: not is_ready(), "the end of the API server")
            time.sleep(20)
        finally:
            on_node("mv", "/root/kube-apiserver.yaml", MANIFEST)
        eventually(is_ready, "the start of the API server")
        assert wait.wait(600) == 0
        lines = (wait.stderr.read() if wait.stderr else "").splitlines()
        assert any("the cluster does not respond, looking again" in line for line in lines), lines
        assert job.await_end().codes == [(0, 0)], "the pod has noticed nothing"
        assert_like(undisturbed, job)


def is_ready() -> bool:
    command = [KUBECTL, "get", "--raw", "/readyz", "--request-timeout=5s"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def waiting(job: RunningJob) -> Iterator["subprocess.Popen[str]"]:
    """Run `make wait` in the background."""
    with subprocess.Popen(["make", "wait", f"JOB={job.name}"], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def ghost(node: None) -> Iterator[str]:
    """A node that was ready once and is silent since."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kubectl("delete", "node", GHOST, "--ignore-not-found")
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": GHOST}}
    kubectl("create", "--filename", "-", given=json.dumps(made))
    ready = {"type": "Ready", "status": "True", "reason": "test", "lastHeartbeatTime": now, "lastTransitionTime": now}
    size = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "pods": "10"}
    patch(f"node/{GHOST}", {"conditions": [ready], "capacity": size, "allocatable": size})
    kubectl("cordon", GHOST)
    yield GHOST
    kubectl("delete", "node", GHOST, "--ignore-not-found")


def patch(what: str, status: Object) -> None:
    kubectl("patch", what, "--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))


def test_a_lost_node_is_named_and_its_pod_is_replaced_after_the_taint(ghost: str, submit: Submit) -> None:
    def on_ghost(job: Object) -> Object:
        job["spec"]["template"]["spec"]["nodeName"] = ghost
        return job

    with submit("preflight", change=on_ghost) as job, waiting(job) as wait:
        eventually(lambda: len(job.pods) == 1, "a pod")
        pod = job.pods[0]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        state = {"name": "job", "state": {"running": {"startedAt": now}}, "ready": True, "restartCount": 0}
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        image = {"image": "dogbreed/train:0.1.0", "imageID": ""}
        patch(f"pod/{pod.name}", {"phase": "Running", "conditions": [ready], "containerStatuses": [state | image]})
        began, line = time.monotonic(), ""
        while "does not respond" not in line and wait.stderr:
            line = wait.stderr.readline()
            assert line, "make wait has ended"
        print(f"\nnamed after {time.monotonic() - began:.0f} s: {line}", end="")
        assert line.startswith(f"{pod.name}: its node {ghost} does not respond")
        kubectl("taint", "node", ghost, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
        began = time.monotonic()
        eventually(lambda: len(job.pods) == 2, "a new pod", seconds=60)
        print(f"a new pod {time.monotonic() - began:.0f} s after the taint")
        assert job.status.get("failed", 0) == 0
