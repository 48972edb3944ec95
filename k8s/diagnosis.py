"""Why a Job does not go on, and how its pods ended, in words."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cluster import Object, Refused, get_items

LOST_AFTER = 120  # seconds that a pod is not ready, or overdue, before its node is called lost
LAST_LINES = 3  # of a pod's log
NOISE = re.compile(r"[IWE]\d{4} |WARNING: All log messages|\d{4}-\d\d-\d\d .*tensorflow/")  # TensorFlow's own lines
QUEUE = "kueue.x-k8s.io/queue-name"


def problems(job: Object, pods: Sequence[Object]) -> Iterator[str]:
    """Yield a message for all that keeps a Job from running; the same problem of several pods is one message."""
    name = job["metadata"]["name"]
    if job["spec"].get("suspend"):
        yield from _suspended(job)
    found = [(pod, text) for pod in pods for text in _pod_problems(pod)]
    shown: dict[str, str] = {}
    for pod, text in found:
        shown.setdefault(text.replace(pod["metadata"]["name"], "POD"), text)
    yield from shown.values()
    yield from endings([pod for pod in pods if pod["status"].get("phase") == "Failed"])
    selector = f"involvedObject.kind=Job,involvedObject.name={name},type=Warning"
    for event in _permitted("events", "--field-selector", selector):
        yield f"{event['reason']}: {re.sub(rf'{name}-[a-z0-9-]+', 'its pod', event.get('message', ''))}"


def _permitted(*arguments: str) -> list[Object]:
    """Return what `get_items` does; nothing without permission, or where Kueue is not installed."""
    try:
        return get_items(*arguments)
    except Refused:
        return []


def _suspended(job: Object) -> Iterator[str]:
    """Yield why Kueue has not admitted a Job."""
    queue = job["metadata"].get("labels", {}).get(QUEUE)
    if queue is None:
        yield "suspended, and in no queue: set spec.suspend to false to start it"
        return
    workloads = _permitted("workloads.kueue.x-k8s.io", "--selector", f"kueue.x-k8s.io/job-uid={job['metadata']['uid']}")
    conditions = [c for found in workloads for c in found.get("status", {}).get("conditions", [])]
    reasons = [c["message"] for c in conditions if c["type"] == "QuotaReserved" and c["status"] == "False"]
    yield f"suspended: it waits in the queue {queue}: {'; '.join(reasons) or 'Kueue has not looked at it'}"


def _pod_problems(pod: Object) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod["status"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{name} cannot be scheduled: {condition.get('message', condition.get('reason', ''))}"
    for container in _containers(status):
        waiting = container["state"].get("waiting", {})
        if waiting.get("reason", "ContainerCreating") not in ("ContainerCreating", "PodInitializing"):
            yield f"{name}: {waiting['reason']}: {waiting.get('message', '')}"
    if _is_lost(pod):
        node = pod["spec"]["nodeName"]
        yield (
            f"{name}: its node {node} does not respond. If the node is gone for good, a new pod starts after\n"
            f"  kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute\n"
            f"or\n  kubectl delete node {node}"
        )


def _containers(status: Object) -> list[Object]:
    """Return the statuses of a pod's containers, those of init containers first, but for those that ended well."""
    found = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return [container for container in found if container["state"].get("terminated", {}).get("exitCode") != 0]


def _is_lost(pod: Object) -> bool:
    """Tell whether a running pod has not been ready, or should have been deleted, for LOST_AFTER seconds.

    The control plane marks the pods of a node without heartbeat as not ready. A pod of a Job has no readiness probe.
    """
    if pod["status"].get("phase") != "Running":
        return False
    ready = next((c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"), {"status": "True"})
    since = [pod["metadata"].get("deletionTimestamp")]
    if ready["status"] != "True" and any("running" in c["state"] for c in pod["status"].get("containerStatuses", [])):
        since.append(ready["lastTransitionTime"])
    return any(time and _seconds_since(time) > LOST_AFTER for time in since)


def _seconds_since(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def endings(pods: Sequence[Object]) -> Iterator[str]:
    """Yield how each pod that has ended did so, with the last lines of its log."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod["status"]
        if status.get("reason"):  # Evicted
            yield f"{name}: {status['reason']}: {status.get('message', '')}"
        for container in _containers(status):
            if end := container["state"].get("terminated"):
                reason = end.get("reason", "Error")
                named = "" if reason in ("Error", "Completed") else f" ({reason})"
                yield f"{name} ended with {end['exitCode']}{named}{_last_lines(end.get('message', ''))}"


def _last_lines(text: str) -> str:
    """Return the last lines without those of TensorFlow; Kubernetes cuts the text at its start."""
    lines = [line for line in text.strip().splitlines() if not NOISE.match(line)]
    return "".join(f"\n  {line}" for line in lines[-LAST_LINES:])
