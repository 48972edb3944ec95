"""Runs a rendered Job in the cluster of KUBECONFIG, with the same methods as executor.py."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.e2e.executor import Ended
from tests.support.kubernetes.manifests import KUBECTL, Object

NAMESPACE = "dogbreed"


def kubectl(*arguments: str, given: str | None = None, check: bool = True) -> str:
    done = subprocess.run(
        [KUBECTL, "--namespace", NAMESPACE, *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@dataclass
class Pod:
    """A running pod."""

    index: int
    attempt: int
    name: str

    def said(self) -> str:
        return kubectl("logs", self.name, check=False)

    def kill(self, signal: str = "KILL") -> None:
        """Delete it: at once, or with its grace period."""
        kubectl("delete", "pod", self.name, *(["--force", "--grace-period=0"] if signal == "KILL" else []), check=False)


class Cluster:
    """A cluster in which `kubectl apply -k k8s/overlays/local` has been done and its images are known."""

    def run(self, job: Object, disturb: Callable[[list[Any]], None] = lambda pods: None) -> Ended:
        """Create a Job, wait for its end, and remove it."""
        name = job["metadata"]["name"]
        kubectl("create", "--filename", "-", given=json.dumps(job))
        ended, seen = Ended(succeeded=False), dict[int, list[str]]()
        try:
            while not (done := self._done(name)):
                pods = self._pods(name)
                disturb([self._pod(pod, seen) for pod in pods if pod["status"]["phase"] == "Running"])
                time.sleep(1)
            ended.succeeded = done == "Complete"
            for pod in self._pods(name):
                self._note(pod, ended)
        finally:
            kubectl("delete", "job", name, "--cascade=foreground")
        return ended

    def _done(self, name: str) -> str:
        conditions = json.loads(kubectl("get", "job", name, "-o", "json"))["status"].get("conditions", [])
        return next(
            (c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), ""
        )

    def _pods(self, name: str) -> list[Object]:
        found: list[Object] = json.loads(
            kubectl("get", "pods", "--selector", f"batch.kubernetes.io/job-name={name}", "-o", "json")
        )["items"]
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def _pod(self, pod: Object, seen: dict[int, list[str]]) -> Pod:
        name, names = pod["metadata"]["name"], seen.setdefault(_index(pod), [])
        if name not in names:
            names.append(name)
        return Pod(_index(pod), names.index(name), name)

    def _note(self, pod: Object, ended: Ended) -> None:
        index, text = _index(pod), kubectl("logs", pod["metadata"]["name"], check=False)
        ended.said[index] = ended.said.get(index, "") + text
        for status in pod["status"].get("containerStatuses", []):
            if code := status["state"].get("terminated"):
                ended.codes.append((index, code["exitCode"]))
                if code["exitCode"] == 0:
                    ended.summaries[index] = json.loads(text.splitlines()[-1])


def _index(pod: Object) -> int:
    return int(pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index", 0))
