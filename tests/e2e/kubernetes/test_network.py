"""The NetworkPolicies as the network enforces them: pods with the labels of each kind try to reach each server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.support.e2e.cluster import get, kubectl
from tests.support.e2e.stack import eventually
from tests.support.kubernetes.manifests import JOBS, Manifests, Object, one, pod
from tests.support.kubernetes.network import Labels, Peer, allowed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
SERVERS = {"object-store": 9000, "mlflow": 5000, "postgres": 5432}
LISTENER = "probe-worker"
PROBE = """
import json, os, socket, time
time.sleep(10)  # policies reach a new pod some seconds after its start
found = {}
for name, (host, port) in json.loads(os.environ["TARGETS"]).items():
    try:
        socket.create_connection((host, port), timeout=3).close()
        found[name] = True
    except OSError:
        found[name] = False
print(json.dumps(found))
"""
LISTEN = "import socket, time; s = socket.create_server(('', 2222)); print('listening', flush=True); time.sleep(3600)"


def probe(name: str, labels: Labels, program: str, targets: dict[str, tuple[str, int]]) -> Object:
    """Return a pod with these labels that no Service sends anything to, since it is never ready."""
    container = {
        "name": "probe",
        "image": "dogbreed/preprocess:0.1.0",
        "command": ["python", "-c", program],
        "env": [{"name": "TARGETS", "value": json.dumps(targets)}],
        "readinessProbe": {"exec": {"command": ["false"]}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": security,
        "terminationGracePeriodSeconds": 0,
    }
    metadata = {"name": name, "labels": labels | {"probe": "true"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    return Manifests(tmp_path)


@pytest.fixture
def sources(manifests: Manifests) -> dict[str, Labels]:
    """The labels of each kind of pod, by name."""
    found = {name: pod(one(manifests.overlays["local"], "Deployment", name))["metadata"]["labels"] for name in SERVERS}
    found |= {name: pod(manifests.overlay_jobs["local"][name])["metadata"]["labels"] for name in JOBS}
    return found | {"no-labels": {}}


@pytest.fixture(autouse=True)
def no_probes() -> Iterator[None]:
    yield
    kubectl("delete", "pods", "--selector", "probe=true", "--now")


def create(pods: list[Object]) -> None:
    kubectl("create", "--filename", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))


def find_targets(sources: dict[str, Labels]) -> tuple[dict[str, tuple[str, int]], dict[str, Peer]]:
    """Return address and port of each target by name, and what the policies see of it."""
    create([probe(LISTENER, sources["train-multiworker"], LISTEN, {})])
    eventually(lambda: "listening" in kubectl("logs", LISTENER, check=False), "the listener", every=1)
    selector = ("--namespace", "default", "--selector", "kubernetes.io/service-name=kubernetes")
    [api] = get("endpointslices", *selector)["items"]
    node, port = api["endpoints"][0]["addresses"][0], api["ports"][0]["port"]
    addresses = {name: (get("service", name)["spec"]["clusterIP"], port) for name, port in SERVERS.items()}
    addresses |= {"worker": (get("pod", LISTENER)["status"]["podIP"], 2222)}
    addresses |= {"API server": (node, port), "kubelet": (node, 10250)}
    peers: dict[str, Peer] = {name: sources[name] for name in SERVERS}
    return addresses, peers | {"worker": sources["train-multiworker"], "API server": node, "kubelet": node}


def results(names: list[str]) -> dict[str, dict[str, bool]]:
    """Return what each probe has printed."""
    for name in names:
        kubectl("wait", f"pod/probe-{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=5m")
    return {name: json.loads(kubectl("logs", f"probe-{name}")) for name in names}


def test_every_pod_reaches_what_the_policies_say_and_nothing_else(
    manifests: Manifests, sources: dict[str, Labels]
) -> None:
    addresses, peers = find_targets(sources)
    create([probe(f"probe-{name}", labels, PROBE, addresses) for name, labels in sources.items()])
    found = results(list(sources))
    show(found, list(addresses))
    objects = manifests.overlays["local"]
    expected = {
        name: {target: allowed(objects, labels, peers[target], port) for target, (_, port) in addresses.items()}
        for name, labels in sources.items()
    }
    assert found == expected
    assert found["train"] == dict.fromkeys(addresses, False) | {"object-store": True, "mlflow": True}
    assert found["search"] == found["train"] | {"postgres": True}, "its studies are in the database"
    assert not any(found["no-labels"].values())


def show(found: dict[str, dict[str, Any]], targets: list[str]) -> None:
    """Print who has reached whom."""
    table = Table("from \\ to", *targets, title="connections: allowed or refused")
    for name, reached in found.items():
        table.add_row(name, *("allowed" if reached[target] else "-" for target in targets))
    Console(width=120).print(table)
