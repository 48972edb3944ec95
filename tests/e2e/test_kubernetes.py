"""The Jobs of k8s/ run: in containers as their manifests say, against the compose stack, or in KUBECONFIG's cluster."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.jobs import job
from tests.support.e2e.cluster import Cluster, kubectl
from tests.support.e2e.executor import Ended, Executor
from tests.support.e2e.stack import CANARIES, ROOT, Stack
from tests.support.kubernetes.manifests import Manifests
from tests.support.kubernetes.submit import rendered

pytestmark = pytest.mark.e2e

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": CANARIES["STORE_ACCESS_KEY"],
    "AWS_SECRET_ACCESS_KEY": CANARIES["STORE_SECRET_KEY"],
    "MLFLOW_TRACKING_PASSWORD": CANARIES["MLFLOW_ADMIN_PASSWORD"],
}
Submit = Callable[..., Ended]


@pytest.fixture(scope="module")
def machine(worker: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor | Cluster]:
    """What runs Jobs: the cluster of KUBECONFIG, or this machine's engine with compose's store and MLflow."""
    if os.environ.get("KUBECONFIG"):
        for folder in ("volumes", "overlays/local"):
            kubectl("apply", "-k", str(ROOT / "k8s" / folder))
        kubectl("wait", "deployment", "--all", "--for=condition=Available", "--timeout=10m")
        yield Cluster()
        return
    stack = Stack(f"dogbreed-k8s-{worker}", 5150 + worker, 9190 + worker, {"MLFLOW_BASIC_AUTH": "true"})
    stack.remove()
    manifests = Manifests(tmp_path_factory.mktemp("manifests"), CREDENTIALS)
    executor = Executor(manifests.overlays["local"], f"{stack.project}_default")
    try:
        stack.compose("up", "--detach", "--no-build", "--wait", "mlflow")
        yield executor
    finally:
        executor.remove()
        stack.remove()


@pytest.fixture(scope="module")
def submit(machine: Executor | Cluster) -> Submit:
    """Run what `make submit` creates to its end."""

    def run(name: str, arguments: str = "", disturb: Callable[[list[Any]], None] = lambda pods: None) -> Ended:
        return machine.run(rendered(JOB=name, ARGS=arguments), disturb)

    return run


@pytest.fixture(scope="module")
def dataset(submit: Submit) -> Ended:
    """What four workers have made, of whom one was killed twice."""
    fetched = submit("fetch")
    assert fetched.succeeded, fetched.said

    def kill_two_of_the_third(pods: list[Any]) -> None:
        for pod in pods:
            if pod.index == 2 and pod.attempt < 2 and pod.said():
                pod.kill()

    return submit("preprocess", "", kill_two_of_the_third)


@pytest.fixture(scope="module")
def trained(submit: Submit, dataset: Ended) -> Ended:
    assert dataset.succeeded, dataset.said
    return submit("train", "--epochs 3")


def test_the_preflight_finds_everything_within_its_limits(submit: Submit) -> None:
    ended = submit("preflight")
    assert ended.succeeded, ended.said
    assert ended.summaries[0]["memory"] == "3.0 GiB are available, 2 are needed"
    assert ended.summaries[0]["scratch"].startswith("/work: ")


def test_four_workers_of_whom_one_is_killed_twice_make_the_dataset_of_a_plain_run(
    dataset: Ended, tmp_path: Path
) -> None:
    assert dataset.succeeded, dataset.said
    assert sorted(code for index, code in dataset.codes if index == 2)[0] == 0
    assert len([index for index, _ in dataset.codes if index == 2]) == 3
    assert sorted(index for index, code in dataset.codes if code == 0) == [0, 1, 2, 3]
    job("fetch", "--source", "synthetic", "--raw", f"{tmp_path}/raw")
    plain = job("preprocess", "--raw", f"{tmp_path}/raw", "--out", f"{tmp_path}/out", "--size", "64", "--shards", "8")
    digests = {summary["digest"] for summary in dataset.summaries.values() if summary["manifest"]}
    assert digests == {plain["digest"]}


def test_a_wrong_recipe_fails_at_once_and_says_why(submit: Submit, dataset: Ended) -> None:
    ended = submit("train", "--recipe smple-64")
    assert not ended.succeeded
    assert ended.codes == [(0, 2)], "one pod, no other try"
    assert "smple-64" in ended.said[0]


def test_a_training_registers_a_model_under_the_jobs_name(trained: Ended) -> None:
    assert trained.succeeded, trained.said
    assert trained.summaries[0]["epochs"] == 3
    assert int(trained.summaries[0]["model_version"]) >= 1
    assert "train train-" in trained.said[0], "each line of the log begins with job and key"


def test_the_candidate_is_evaluated(submit: Submit, trained: Ended) -> None:
    ended = submit("evaluate")
    assert ended.succeeded, ended.said
    assert ended.summaries[0]["images"] > 0
    assert 0 < ended.summaries[0]["top1"] <= 1


def test_two_workers_of_whom_one_is_killed_go_on_from_the_last_checkpoint(submit: Submit, dataset: Ended) -> None:
    def kill_the_second_after_a_checkpoint(pods: list[Any]) -> None:
        if any("checkpoint of step" in pod.said() for pod in pods if pod.index == 0 and pod.attempt == 0):
            for pod in pods:
                if pod.index == 1 and pod.attempt == 0:
                    pod.kill()

    ended = submit("train-multiworker", "--epochs 6 --checkpoint-every 4", kill_the_second_after_a_checkpoint)
    assert ended.succeeded, ended.said
    assert 75 in [code for index, code in ended.codes if index == 0], "it has lost the other one"
    assert [code for _, code in ended.codes][-2:] == [0, 0]
    assert "resuming after step" in ended.said[0]
    assert ended.summaries[0]["epochs"] == 6
    assert ended.summaries[0]["weights_sha256"] == ended.summaries[1]["weights_sha256"]
