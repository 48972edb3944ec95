"""Ways in which a pod ends before its job is done."""

import json

from tests.support.e2e.cluster import NAMESPACE, NODE, Pod, kubectl, on_node


def kill(pod: Pod) -> None:
    """Send SIGKILL to its main process, as the kernel does when memory is exhausted."""
    identifier = pod.seen["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    on_node("ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", identifier)


def delete(pod: Pod) -> None:
    """Delete it, as a user does."""
    kubectl("delete", "pod", pod.name, "--wait=false")


def evict(pod: Pod) -> None:
    """Evict it through the API, as autoscalers do."""
    metadata = {"name": pod.name, "namespace": NAMESPACE}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}/eviction"
    kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))


def drain(pod: Pod) -> None:
    """Drain the node, with store, database and MLflow on it; its pods start again when it is back."""
    kubectl("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5m")
    kubectl("uncordon", NODE)
