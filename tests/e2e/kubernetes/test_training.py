"""Trainings whose pods are killed, evicted and drained: the model of one that nobody disturbed, in one MLflow run."""

import json
from collections.abc import Callable, Iterator

import mlflow
import pytest

from tests.support.e2e.cluster import NAMESPACE, NODE, Pod, RunningJob, Submit, kubectl
from tests.support.e2e.port_forward import tracking

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600), pytest.mark.usefixtures("node")]
EPOCHS = 12  # of 20 steps
OPTIONS = f"--deterministic --checkpoint-every 10 --epochs {EPOCHS} --set patience=99"
SAME = ("weights_sha256", "optimizer_sha256", "val_top1", "epochs")


@pytest.fixture(scope="module")
def undisturbed(submit: Submit, data: str) -> dict[str, object]:
    with submit("train", f"--data {data} {OPTIONS}") as job:
        assert job.await_end().condition == "Complete", job.output()
        return job.pods[0].summary


def delete(pod: Pod) -> None:
    kubectl("delete", "pod", pod.name, "--wait=false")


def evict(pod: Pod) -> None:
    metadata = {"name": pod.name, "namespace": NAMESPACE}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}/eviction"
    kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))


def drain(pod: Pod) -> None:
    """Drain the node, with store, database and MLflow on it; its pods start again when it is back."""
    kubectl("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5m")
    kubectl("uncordon", NODE)


@pytest.fixture
def uncordoned() -> Iterator[None]:
    yield
    kubectl("uncordon", NODE)


@pytest.mark.usefixtures("uncordoned")
def test_a_pod_killed_four_ways_leaves_the_model_of_an_undisturbed_training(
    submit: Submit, data: str, prefix: str, undisturbed: dict[str, object]
) -> None:
    ways: tuple[Callable[[Pod], None], ...] = (delete, Pod.kill, evict, drain)
    with submit("train", f"--data {data} {OPTIONS}") as job:
        for number, end in enumerate(ways):
            end(job.await_pod(has_saved(job, number), f"a checkpoint of attempt {number}"))
        assert job.await_end().condition == "Complete", job.output()
        codes = [code for _, code in job.codes]
        assert [*codes[:3], codes[4]] == [143, 137, 143, 0]
        assert codes[3] in (137, 143), "without a store the last checkpoint may take longer than the grace period"
        assert job.status["failed"] == 1, "SIGKILL alone is counted"
        print(f"\nseconds from the end of a pod to the next one: {job.pauses()}")
        assert {key: job.pods[-1].summary[key] for key in SAME} == {key: undisturbed[key] for key in SAME}
        with tracking() as client:
            assert_one_run(client, prefix, job)


def has_saved(job: RunningJob, attempt: int) -> Callable[[Pod], bool]:
    """Return a condition for the pod after so many others, once it has written a checkpoint."""
    return lambda pod: "checkpoint of step" in pod.output and [p.name for p in job.pods][attempt:] == [pod.name]


def assert_one_run(client: mlflow.MlflowClient, prefix: str, job: RunningJob) -> None:
    """One finished run with a point for each epoch, one version of the model."""
    experiment = client.get_experiment_by_name(f"{prefix}/train")
    assert experiment
    [run] = client.search_runs([experiment.experiment_id], f"tags.`dogbreed.job_key` = '{job.name}'")
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "val_top1")) == EPOCHS
    versions = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    assert len(versions) == 1
