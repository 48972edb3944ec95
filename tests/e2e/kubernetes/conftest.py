"""The stack of k8s/overlays/local in the cluster of KUBECONFIG, and Jobs with prefixes of this run alone."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.jobs import job as run_job
from tests.support.e2e.cluster import NODE, Submit, has_node, kubectl, running
from tests.support.e2e.trainings import OPTIONS, train_by_workers
from tests.support.kubernetes.manifests import ROOT, Object
from tests.support.kubernetes.submit import rendered


@pytest.fixture(scope="session", autouse=True)
def stack() -> None:
    """Store, database and MLflow, as an administrator applies them."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG is not set; call `make e2e-k8s`")
    if not has_node() and not os.environ.get("E2E_DESTRUCTIVE"):
        pytest.fail("these tests change and delete what is in the namespace dogbreed; E2E_DESTRUCTIVE=1 allows that")
    subprocess.run([ROOT / "k8s" / "secrets.sh"], check=True)  # existing files stay as they are
    for folder in ("volumes", "rbac", "overlays/local"):
        kubectl("apply", "--kustomize", str(ROOT / "k8s" / folder))
    kubectl("wait", "deployment", "--all", "--for=condition=Available", "--timeout=10m")


@pytest.fixture(scope="session")
def node(stack: None) -> None:
    """Access to the node itself, for what only its administrator can do."""
    if not has_node():
        pytest.skip("needs the node of `make cluster`")


@pytest.fixture
def uncordoned(node: None) -> Iterator[None]:
    """The node, which takes pods again afterwards."""
    yield
    kubectl("uncordon", NODE)


@pytest.fixture(scope="session")
def prefix() -> str:
    """A name that no other run of the tests has: a cluster may already have datasets and models."""
    return f"e2e-{secrets.token_hex(3)}"


@pytest.fixture(scope="session")
def submit(prefix: str) -> Submit:
    """Create what `make submit` creates, with `settings` as for it, and watch it."""

    def create(job: str, arguments: str = "", change: Callable[[Any], Any] = lambda job: job, **settings: str) -> Any:
        return running(change(rendered(JOB=job, ARGS=arguments, **settings)))

    return create


@pytest.fixture(scope="session")
def raw(submit: Submit) -> str:
    """Synthetic images in the store."""
    with submit("fetch") as job:
        assert job.await_end().condition == "Complete", job.output()
    return "s3://dogbreed/raw/synthetic"


@pytest.fixture(scope="session")
def data(submit: Submit, raw: str, prefix: str, digest: str) -> str:
    """The URI of a dataset of this run, made by four pods that nobody disturbed."""
    uri = f"s3://dogbreed/{prefix}/data"
    with submit("preprocess", f"--out {uri} --name {prefix}") as job:
        assert job.await_end().condition == "Complete", job.output()
        assert job.digests() == {digest}
    return uri


@pytest.fixture(scope="session")
def digest(prefix: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the same dataset, made by one process on this machine."""
    folder = tmp_path_factory.mktemp("plain")
    tracking = f"sqlite:///{folder}/mlflow.db"
    run_job("fetch", "--source", "synthetic", "--raw", f"{folder}/raw", MLFLOW_TRACKING_URI=tracking)
    options = ("--raw", f"{folder}/raw", "--out", f"{folder}/out", "--size", "64", "--shards", "8")
    made = run_job("preprocess", *options, "--name", prefix, MLFLOW_TRACKING_URI=tracking)
    return str(made["digest"])


@pytest.fixture(scope="session")
def undisturbed(submit: Submit, data: str) -> Object:
    """The summary of a training by one pod that nobody disturbed."""
    with submit("train", f"--data {data} {OPTIONS}") as job:
        assert job.await_end().condition == "Complete", job.output()
        return job.summaries()[0]


@pytest.fixture(scope="session")
def pair(submit: Submit, data: str) -> Object:
    """The chief's summary of a training by two pods that nobody disturbed."""
    with train_by_workers(submit, data, 2, 6) as job:
        assert job.await_end().condition == "Complete", job.output()
        return job.summaries()[0]
