"""A user with the submitter's role, by a token of its own: the commands of the manual work, others are forbidden."""

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.support.e2e.cluster import kubectl
from tests.support.kubernetes.rights import ALLOWED
from tests.support.kubernetes.submit import make

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
EVERYBODY = {  # what Kubernetes allows every authenticated user: questions about the own rights
    "selfsubjectreviews": "create",
    "selfsubjectaccessreviews": "create",
    "selfsubjectrulesreviews": "create",
}
FORBIDDEN = (
    "get secrets",
    "get configmaps",
    "create pods",
    "delete pods",
    "create pods/exec",
    "delete deployments",
    "patch jobs",
    "delete persistentvolumeclaims",
    "create rolebindings",
)


@pytest.fixture
def submitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig with a token of the ServiceAccount `submitter` for all commands of the test."""
    token = kubectl("create", "token", "submitter").strip()
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


@pytest.mark.usefixtures("submitter")
def test_the_cluster_grants_what_the_committed_list_says() -> None:
    rows = [re.split(r"\s{2,}", line.strip()) for line in kubectl("auth", "can-i", "--list").splitlines()[1:]]
    resources = [(row[0].split(".")[0], row[-1].strip("[]").split()) for row in rows if not row[0].startswith("[")]
    granted = {(resource, verb) for resource, verbs in resources for verb in verbs}
    assert granted - set(EVERYBODY.items()) == set(ALLOWED)


@pytest.mark.usefixtures("submitter")
@pytest.mark.parametrize("action", FORBIDDEN)
def test_a_submitter_may_not(action: str) -> None:
    assert kubectl("auth", "can-i", *action.split(), check=False).strip() == "no"


@pytest.mark.usefixtures("submitter")
def test_a_submitter_may_not_look_into_other_namespaces() -> None:
    assert "no" in kubectl("auth", "can-i", "get", "jobs", "--namespace", "kube-system", check=False)


@pytest.mark.usefixtures("submitter")
def test_a_submitter_submits_waits_and_reads_logs() -> None:
    for target in ("submit", "wait", "logs"):
        done = make(target, JOB="preflight")
        assert done.returncode == 0, f"{target}: {done.stderr}"
    assert kubectl("delete", "job", "--selector", "app.kubernetes.io/component=preflight")
