"""All that k8s/ renders to: every overlay, and every job with every overlay and every set of components.

`python -m tests.support.kubernetes.manifests FOLDER` writes it all, a file a combination, and prints how much it is.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
KUBECTL = shutil.which("kubectl", path=Path(sys.executable).parent) or "kubectl"  # the pinned one
JOBS = sorted(path.parent.name for path in ROOT.glob("k8s/jobs/*/job.yaml"))
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("k8s/overlays/*/jobs"))
ONCE = ("namespace", "queue", "rbac", "restore", "volumes")  # folders of k8s/ that an administrator applies
COMPONENTS = ("gpu", "kueue", "spot")  # of jobs
STACK_COMPONENTS = ("backup", "pull-secret", "quota")  # of overlays; overlays/aws has `external`
SETS = [chosen for count in range(len(COMPONENTS) + 1) for chosen in itertools.combinations(COMPONENTS, count)]

Object = dict[str, Any]


@dataclass
class Manifests:
    """A copy of k8s/ with credentials of its own: what a person has after `make k8s-secrets`."""

    folder: Path  # empty
    credentials: dict[str, str] = field(default_factory=dict)  # the lines of *.secret that are not drawn at random

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "k8s", self.folder / "k8s", ignore=shutil.ignore_patterns("*.secret", "__pycache__"))
        subprocess.run([self.folder / "k8s" / "secrets.sh"], check=True, capture_output=True)
        for path in self.folder.glob("k8s/*/*.secret"):
            lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
            known = {name: self.credentials.get(name, value) for name, value in lines.items()}
            path.write_text("".join(f"{name}={value}\n" for name, value in known.items()))

    def render(self, folder: Path) -> list[Object]:
        """Return what kustomize makes of a folder; its own message where it refuses."""
        done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    def jobs(self, *components: Path) -> dict[str, Object]:
        """Return every Job by its kind, changed by these components."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folders = {"resources": [self.folder / "k8s" / "jobs" / job for job in JOBS], "components": components}
            text = yaml.safe_dump({key: [os.path.relpath(p, name) for p in paths] for key, paths in folders.items()})
            (Path(name) / "kustomization.yaml").write_text(text)
            return {job["metadata"]["name"]: job for job in self.render(Path(name))}

    @cached_property
    def overlays(self) -> dict[str, list[Object]]:
        """What `kubectl apply -k` gives a cluster, by overlay."""
        return {name: self.render(self.folder / "k8s" / "overlays" / name) for name in OVERLAYS}

    @cached_property
    def extended(self) -> list[Object]:
        """The overlay `local` with all components for overlays."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            places = {"resources": ["overlays/local"], "components": [f"components/{c}" for c in STACK_COMPONENTS]}
            text = {key: [f"../k8s/{path}" for path in paths] for key, paths in places.items()}
            (Path(name) / "kustomization.yaml").write_text(yaml.safe_dump(text))
            return self.render(Path(name))

    @cached_property
    def overlay_jobs(self) -> dict[str, dict[str, Object]]:
        """The Jobs as `make submit OVERLAY=...` makes them, by overlay."""
        return {name: self.jobs(self.folder / "k8s" / "overlays" / name / "jobs") for name in OVERLAYS}

    @cached_property
    def component_jobs(self) -> dict[tuple[str, ...], dict[str, Object]]:
        """The Jobs by set of components; without one, as `kubectl create -k k8s/jobs/...` makes them."""
        places = self.folder / "k8s" / "components"
        return {chosen: self.jobs(*(places / name for name in chosen)) for chosen in SETS}

    @cached_property
    def once(self) -> dict[str, list[Object]]:
        """What an administrator applies before any overlay, by folder."""
        return {name: self.render(self.folder / "k8s" / name) for name in ONCE}

    @cached_property
    def combinations(self) -> dict[str, list[Object]]:
        """Everything, by a name that says what was combined."""
        found = {f"overlay-{name}": objects for name, objects in self.overlays.items()} | self.once
        found["overlay-local-extended"] = self.extended
        for name, jobs in self.overlay_jobs.items():
            found |= {f"{job}-for-{name}": [rendered] for job, rendered in jobs.items()}
        for chosen, jobs in self.component_jobs.items():
            found |= {f"{job}-with-{'-'.join(chosen) or 'nothing'}": [rendered] for job, rendered in jobs.items()}
        return found


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """Return the one object of that kind and name."""
    [found] = [found for found in of_kind(objects, kind) if found["metadata"]["name"] == name]
    return found


def pod(owner: Object) -> Object:
    """Return the pod template of a Job, CronJob or Deployment."""
    template: Object = owner["spec"].get("jobTemplate", owner)["spec"]["template"]
    return template


def containers(owner: Object) -> list[Object]:
    spec = pod(owner)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def consequence(job: Object, code: int) -> str:
    """Return what Kubernetes does when a pod ends with this code: the action of the first rule that fits, or Count."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and codes["containerName"] == "job" and codes["operator"] == "In" and code in codes["values"]:
            return str(rule["action"])
    return "Count"


if __name__ == "__main__":
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as copy:
        combinations = Manifests(Path(copy)).combinations
    for name, objects in combinations.items():
        (out / f"{name}.yaml").write_text(yaml.safe_dump_all(objects, sort_keys=False))
    print(f"{len(combinations)} combinations with {sum(map(len, combinations.values()))} objects in {out}")
