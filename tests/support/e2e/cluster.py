"""Jobs in the cluster of KUBECONFIG: created, watched from the first pod on, and disturbed."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.e2e.stack import DOCKER, eventually
from tests.support.kubernetes.manifests import KUBECTL, Object

NAMESPACE = "dogbreed"  # of all overlays
NODE = "dogbreed-cluster"  # the container that `make cluster` starts


def kubectl(*arguments: str, given: str | None = None, check: bool = True) -> str:
    """Run kubectl in the namespace of the tests and return what it prints."""
    done = subprocess.run(
        [KUBECTL, "--namespace", NAMESPACE, *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def get(*arguments: str) -> Object:
    """Return an object, or a list of objects."""
    found: Object = json.loads(kubectl("get", *arguments, "--output", "json"))
    return found


def on_node(*command: str) -> str:
    """Run a command on the node that `make cluster` has started, as root."""
    done = subprocess.run([DOCKER, "exec", NODE, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def has_node() -> bool:
    """Tell whether the cluster is that of `make cluster`, whose node can be reached."""
    return (
        shutil.which(DOCKER) is not None
        and not subprocess.run([DOCKER, "container", "inspect", NODE], capture_output=True, check=False).returncode
    )


@dataclass
class Pod:
    """A pod of a Job, as it was seen last; it may be gone since."""

    seen: Object
    log: Path

    @property
    def name(self) -> str:
        return str(self.seen["metadata"]["name"])

    @property
    def index(self) -> int:
        return int(self.seen["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index", 0))

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self.seen["metadata"]["creationTimestamp"])

    @property
    def is_running(self) -> bool:
        return self.seen["status"].get("phase") == "Running" and "deletionTimestamp" not in self.seen["metadata"]

    @property
    def end(self) -> Object:
        """How its container has ended: exitCode, reason, finishedAt; empty while it runs or if that was not seen."""
        statuses = self.seen["status"].get("containerStatuses", [])
        return dict(statuses[0]["state"].get("terminated", {})) if statuses else {}

    @property
    def ended(self) -> datetime | None:
        """When its container has ended; None while it runs or if that was not seen."""
        return datetime.fromisoformat(self.end["finishedAt"]) if "finishedAt" in self.end else None

    @property
    def output(self) -> str:
        """All that it has printed on stdout and stderr."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def summary(self) -> dict[str, Any]:
        """What the job has printed last."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1])  # stdout and stderr are mixed in any order
        return found


class RunningJob:
    """A Job; its pods and their logs are noted while it runs, since pods that are deleted take both with them."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._pods: dict[str, Pod] = {}
        self._removed, self._logs = threading.Event(), dict[str, subprocess.Popen[bytes]]()  # by pod
        self._watcher = self._start_watch()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def pods(self) -> list[Pod]:
        """All pods that there were, the oldest first."""
        return sorted(self._pods.values(), key=lambda pod: (pod.created, pod.index))

    @property
    def codes(self) -> list[tuple[int, int | None]]:
        """Index and exit code of each pod, the oldest first."""
        return [(pod.index, pod.end.get("exitCode")) for pod in self.pods]

    @property
    def status(self) -> Object:
        """The status of the Job."""
        return dict(get("job", self.name)["status"])

    @property
    def condition(self) -> str:
        """Complete, Failed, or nothing while it runs."""
        found = [c["type"] for c in self.status.get("conditions", []) if c["status"] == "True"]
        return next((kind for kind in found if kind in ("Complete", "Failed")), "")

    def output(self, index: int = 0) -> str:
        """Return all that the pods of an index have printed."""
        return "".join(pod.output for pod in self.pods if pod.index == index)

    def summaries(self) -> dict[int, dict[str, Any]]:
        """Return what the pods that have ended well have printed last, by index."""
        return {pod.index: pod.summary for pod in self.pods if pod.end.get("exitCode") == 0}

    def digests(self) -> set[str]:
        """Return the digests of the datasets that its pods have completed."""
        return {summary["digest"] for summary in self.summaries().values() if summary["manifest"]}

    def pauses(self) -> list[float]:
        """Return the seconds from the end of each pod to the creation of the next one of its index, by creation."""
        following = [(a, b) for a in self.pods for b in self.pods if a.index == b.index and a.created < b.created]
        nexts = {a.name: b for a, b in reversed(following)}
        return [(nexts[a.name].created - a.ended).total_seconds() for a in self.pods if a.name in nexts and a.ended]

    def await_pod(self, condition: Callable[[Pod], bool], what: str, seconds: float = 300) -> Pod:
        """Return the newest running pod for which the condition holds, as soon as there is one."""
        found: list[Pod] = []

        def look() -> bool:
            found[:] = [pod for pod in self.pods if pod.is_running and condition(pod)]
            return bool(found) or bool(self._has_ended())

        eventually(look, f"{self.name}: {what}", seconds, every=1)
        assert found, f"{self.name} has ended before this: {what}\n{self.output()}"
        return found[-1]

    def _has_ended(self) -> bool:
        """Tell whether all seen pods have ended; the Job itself is asked only then."""
        return bool(self._pods) and not any(pod.is_running for pod in self.pods) and self.condition != ""

    def await_end(self, seconds: float = 600) -> "RunningJob":
        """Wait until the Job is complete or has failed, and its pods' ends are noted."""
        eventually(lambda: self.condition != "", f"the end of {self.name}", seconds, every=2)
        eventually(lambda: all(pod.end or not pod.is_running for pod in self.pods), "the ends of the pods")
        for log in list(self._logs.values()):  # of a pod that has ended, it comes to an end
            log.wait(30)
        return self

    def remove(self) -> None:
        """End the watch, and delete the Job with its pods."""
        self._removed.set()
        self._watcher.terminate()
        self._thread.join()
        self._end_logs()
        options = ("--cascade=foreground", "--ignore-not-found", "--timeout=3m")
        kubectl("delete", "job", self.name, *options, check=False)

    def _watch(self) -> None:
        """Note every state of every pod; begin again, also with their logs, where the API server goes away."""
        while True:
            with self._watcher as watcher:
                for seen in _objects(watcher):
                    self._note(Pod(seen, self._folder / f"{seen['metadata']['name']}.log"))
            if self._removed.wait(1):
                return
            self._end_logs()
            self._watcher = self._start_watch()

    def _start_watch(self) -> "subprocess.Popen[bytes]":
        selector = f"batch.kubernetes.io/job-name={self.name}"
        return _start("get", "pods", "--selector", selector, "--watch", "--output", "json")

    def _note(self, pod: Pod) -> None:
        self._pods[pod.name] = pod
        if pod.seen["status"].get("phase") in ("Running", "Succeeded", "Failed") and pod.name not in self._logs:
            self._logs[pod.name] = _start("logs", "--follow", pod.name, stdout=pod.log)

    def _end_logs(self) -> None:
        """Stop to follow the logs; the next state of a pod begins its log anew."""
        for process in self._logs.values():
            process.terminate()
            process.wait()
        self._logs.clear()


def _start(*arguments: str, stdout: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start kubectl; its output goes to a file, or to a pipe."""
    command = [KUBECTL, "--namespace", NAMESPACE, *arguments]
    with Path(stdout or os.devnull).open("wb") as file:
        return subprocess.Popen(command, stdout=file if stdout else subprocess.PIPE, stderr=subprocess.DEVNULL)


def _objects(watch: "subprocess.Popen[bytes]") -> Iterator[Object]:
    """Yield the objects that kubectl prints, each indented, its last line a brace."""
    lines: list[bytes] = []
    for line in watch.stdout or ():
        lines.append(line)
        if line == b"}\n":
            yield json.loads(b"".join(lines))
            lines = []


Submit = Callable[..., AbstractContextManager[RunningJob]]  # the fixture: job, its options, a change, settings


@contextmanager
def running(job: Object) -> Iterator[RunningJob]:
    """Create a Job, watch it, and delete it at the end."""
    kubectl("create", "--filename", "-", given=json.dumps(job))
    with tempfile.TemporaryDirectory() as folder:
        created = RunningJob(job["metadata"]["name"], Path(folder))
        try:
            yield created
        finally:
            created.remove()
