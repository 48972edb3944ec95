"""Runs a rendered Job in the container engine as Kubernetes would: a container a pod, as the pod template says."""

import base64
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.e2e.stack import VERSION, docker
from tests.support.kubernetes.manifests import Object, consequence, one, pod

JOB_NAME = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}


@dataclass
class Ended:
    """How a Job has ended."""

    succeeded: bool
    codes: list[tuple[int, int]] = field(default_factory=list)  # (index, exit code) of each pod, by the time of its end
    said: dict[int, str] = field(default_factory=dict)  # all that the pods of an index have said on stderr
    summaries: dict[int, dict[str, Any]] = field(default_factory=dict)  # what was printed last, by index


@dataclass
class Pod:
    """A running container."""

    index: int
    attempt: int  # how many of this index were before it
    container: str

    def said(self) -> str:
        return docker("logs", self.container, check=False).stderr

    def runs(self) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self.container).stdout.strip() == "true"

    def kill(self, signal: str = "KILL") -> None:
        docker("kill", "--signal", signal, self.container, check=False)


class Executor:
    """A cluster of one machine; `objects` are what an overlay has applied, `network` is where the servers are."""

    def __init__(self, objects: list[Object], network: str) -> None:
        self.objects, self.network = objects, network
        self.volumes = Path(tempfile.mkdtemp(prefix="dogbreed-pods-"))

    def run(self, job: Object, disturb: Callable[[list[Pod]], None] = lambda pods: None) -> Ended:
        """Run a Job to its end; `disturb` sees the running pods again and again and may kill some."""
        spec, ended = job["spec"], Ended(succeeded=False)
        waiting, attempts, failures = list(range(spec.get("completions", 1))), Counter[int](), Counter[int]()
        running: list[Pod] = []
        try:
            while waiting or running:
                while waiting and len(running) < spec.get("parallelism", 1):
                    index = waiting.pop(0)
                    running.append(self._start(job, index, attempts[index]))
                    attempts[index] += 1
                disturb(running)
                for pod_ in [p for p in running if not p.runs()]:
                    running.remove(pod_)
                    code = self._end(pod_, ended)
                    what = consequence(job, code) if code else "Complete"
                    failures[pod_.index] += what == "Count"
                    if what == "FailJob" or _too_many(spec, failures, pod_.index):
                        return ended
                    if what != "Complete":
                        waiting.append(pod_.index)
                time.sleep(0.2)
            ended.succeeded = True
            return ended
        finally:
            for pod_ in running:
                docker("rm", "--force", pod_.container)

    def remove(self) -> None:
        shutil.rmtree(self.volumes)

    def _start(self, job: Object, index: int, attempt: int) -> Pod:
        name, spec = job["metadata"]["name"], pod(job)["spec"]
        [container] = spec["containers"]
        host, own, limits = f"{name}-{index}", container["securityContext"], container["resources"]["limits"]
        options = ["--name", f"{host}-{attempt}", "--hostname", host, "--network", self.network]
        options += ["--network-alias", f"{host}.{spec['subdomain']}"] if "subdomain" in spec else []
        options += ["--user", str(spec["securityContext"]["runAsUser"])]
        options += ["--read-only"] if own["readOnlyRootFilesystem"] else []
        options += [f"--cap-drop={capability}" for capability in own["capabilities"]["drop"]]
        options += [] if own["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
        options += [
            "--memory",
            limits["memory"][:-1],
            *(["--cpus", limits["cpu"]] if "cpu" in limits else []),
        ]  # 8Gi: 8G
        options += ["--entrypoint", container["command"][0]] if "command" in container else []
        variables = self._environment(job, container, index)
        options += [f"--env={variable}={value}" for variable, value in variables.items()]
        for volume in spec["volumes"]:
            options += self._mount(volume, f"{host}-{attempt}", container["volumeMounts"])
        image = f"{container['image'].rpartition(':')[0]}:{VERSION}"
        docker("run", "--detach", *options, image, *container.get("command", [])[1:], *container["args"])
        return Pod(index, attempt, f"{host}-{attempt}")

    def _mount(self, volume: Object, owner: str, mounts: list[Object]) -> list[str]:
        """Return the options for an emptyDir: memory of that size, or an empty folder that everybody may write."""
        [place] = [mount["mountPath"] for mount in mounts if mount["name"] == volume["name"]]
        if volume["emptyDir"].get("medium") == "Memory":
            return ["--tmpfs", f"{place}:rw,mode=1777,size={volume['emptyDir']['sizeLimit'][:-1]}"]
        folder = self.volumes / owner / volume["name"]
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        return ["--volume", f"{folder}:{place}"]

    def _environment(self, job: Object, container: Object, index: int) -> dict[str, str]:
        found = {"JOB_COMPLETION_INDEX": str(index)} if job["spec"].get("completionMode") == "Indexed" else {}
        for entry in container["envFrom"]:
            [(kind, reference)] = entry.items()
            given = one(self.objects, {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], reference["name"])
            secret = given["kind"] == "Secret"
            found |= {k: base64.b64decode(v).decode() if secret else v for k, v in given["data"].items()}
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                assert variable["valueFrom"] == JOB_NAME
            found[variable["name"]] = variable.get("value", job["metadata"]["name"])
        return found

    def _end(self, pod_: Pod, ended: Ended) -> int:
        """Note what a pod that has ended leaves, remove it, and return its exit code."""
        code = int(docker("wait", pod_.container).stdout)
        done = docker("logs", pod_.container)
        ended.codes.append((pod_.index, code))
        ended.said[pod_.index] = ended.said.get(pod_.index, "") + done.stderr
        if code == 0:
            ended.summaries[pod_.index] = json.loads(done.stdout.splitlines()[-1])
        docker("rm", pod_.container)
        shutil.rmtree(self.volumes / pod_.container)
        return code


def _too_many(spec: Object, failures: Counter[int], index: int) -> bool:
    """Tell whether an index, or the whole Job, has failed more often than it may."""
    shared = "backoffLimitPerIndex" in spec
    return bool(failures[index] > spec["backoffLimitPerIndex"] if shared else failures.total() > spec["backoffLimit"])
