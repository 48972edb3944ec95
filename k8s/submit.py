"""Submit a job to Kubernetes, wait for its end, follow its logs: `make submit`, `make wait`, `make logs`.

A job is rendered from k8s/jobs with the changes of an overlay and gets a name of its own, so that any number of them
may be there at a time. Everything else is plain kubectl.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import yaml

HERE = Path(__file__).parent
JOBS = sorted(path.parent.name for path in HERE.glob("jobs/*/job.yaml"))
OVERLAYS = sorted(path.parent.name for path in HERE.glob("overlays/*/jobs"))
NAMESPACE = "dogbreed"
OLDEST = (1, 33)  # backoffLimitPerIndex is stable from there on
LOOK_EVERY = 3.0  # seconds between two looks at a Job
WORKERS = re.compile(r"DOGBREED_(\w+_)?WORKERS")  # variables that repeat a Job's number of completions

Object = dict[str, Any]


def tool() -> str:
    """Return the kubectl to use: KUBECTL, the pinned one of .venv, or the system's."""
    return os.environ.get("KUBECTL") or shutil.which("kubectl", path=Path(sys.executable).parent) or "kubectl"


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Run kubectl and return what it prints; its own message ends the program when it fails."""
    done = subprocess.run([tool(), *arguments], input=given, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def render(job: str, overlay: str) -> Object:
    """Return the Job of k8s/jobs with the overlay's changes."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()  # kustomize follows links before it goes up
        parts = {"resources": HERE / "jobs" / job, "components": HERE / "overlays" / overlay / "jobs"}
        relative = {key: [os.path.relpath(path.resolve(), here)] for key, path in parts.items()}
        (here / "kustomization.yaml").write_text(yaml.safe_dump(relative))
        rendered: Object = yaml.safe_load(kubectl("kustomize", str(here)))
    return rendered


def named(job: Object) -> Object:
    """Give the Job a name that no other has: its kind, the time, four random digits."""
    name = f"{job['metadata']['name']}-{datetime.now(UTC):%m%d-%H%M%S}-{secrets.token_hex(2)}"
    job["metadata"]["name"] = name
    for meta in (job["metadata"], job["spec"]["template"]["metadata"]):
        meta["labels"]["app.kubernetes.io/instance"] = name
    return job


def with_arguments(job: Object, arguments: list[str]) -> Object:
    """Append a job's options, which win over its environment, and note them for people who look at the Job."""
    job["spec"]["template"]["spec"]["containers"][0]["args"] += arguments
    if arguments:
        job["metadata"].setdefault("annotations", {})["dogbreed/arguments"] = shlex.join(arguments)
    return job


def with_workers(job: Object, workers: int) -> Object:
    """Set the number of an Indexed Job's workers everywhere where it stands."""
    spec = job["spec"]
    if "completions" not in spec:
        raise click.UsageError(f"{job['metadata']['name']} has one worker; leave WORKERS out")
    spec["completions"] = spec["parallelism"] = workers
    for variable in spec["template"]["spec"]["containers"][0]["env"]:
        if WORKERS.fullmatch(variable["name"]):
            variable["value"] = str(workers)
    return job


def check_server() -> None:
    """End with 78 where the cluster is older than the manifests' features."""
    version = json.loads(kubectl("get", "--raw", "/version"))
    found = int(version["major"]), int(re.sub(r"\D", "", version["minor"]))  # some clouds say "33+"
    if found < OLDEST:
        click.echo("this cluster is Kubernetes {}.{}; the jobs need {}.{} or newer".format(*found, *OLDEST), err=True)
        sys.exit(78)


def find(job: str) -> Object:
    """Return the Job of that name, or the newest one of that kind."""
    if job not in JOBS:
        return dict(json.loads(kubectl("get", "job", job, "--namespace", NAMESPACE, "-o", "json")))
    chosen = ("--namespace", NAMESPACE, "--selector", f"app.kubernetes.io/component={job}")
    items = json.loads(kubectl("get", "jobs", *chosen, "-o", "json"))["items"]
    if not items:
        click.echo(f"there is no {job} in the cluster; submit one first: make submit JOB={job}", err=True)
        sys.exit(75)
    return dict(max(items, key=lambda found: (found["metadata"]["creationTimestamp"], found["metadata"]["name"])))


def until_done(job: str) -> str:
    """Wait for a Job's end and return its name; when it has failed, say why and end with 1."""
    name = find(job)["metadata"]["name"]
    click.echo(f"waiting for {name}", err=True)
    while not (ended := [c for c in conditions(name) if c["status"] == "True" and c["type"] in ("Complete", "Failed")]):
        time.sleep(LOOK_EVERY)
    if ended[0]["type"] == "Complete":
        return str(name)
    click.echo(f"{name} failed: {ended[0].get('message', 'no reason given')}", err=True)
    for line in last_words(name):
        click.echo(line, err=True)
    sys.exit(1)


def conditions(name: str) -> list[dict[str, str]]:
    """Return what Kubernetes says of a Job's state."""
    found: list[dict[str, str]] = find(name)["status"].get("conditions", [])
    return found


def last_words(name: str) -> list[str]:
    """Return how each of a Job's pods ended, and the end of what it said."""
    chosen = ("--selector", f"batch.kubernetes.io/job-name={name}", "-o", "json")
    pods = json.loads(kubectl("get", "pods", "--namespace", NAMESPACE, *chosen))["items"]
    ends = [(pod["metadata"]["name"], s["state"].get("terminated")) for pod in pods for s in _statuses(pod)]
    return [f"{pod} ended with {end['exitCode']}: {end.get('message', '').strip()}" for pod, end in ends if end]


def _statuses(pod: Object) -> list[Object]:
    return list(pod["status"].get("containerStatuses", []))


@click.group()
def main() -> None:
    """Jobs in Kubernetes; each option may also come from the environment, as `make` hands it on."""


@main.command()
@click.argument("job", envvar="JOB", type=click.Choice(JOBS))
@click.option("--args", "arguments", envvar="ARGS", default="", help="Options of the job, as on its command line.")
@click.option("--after", envvar="AFTER", help="Create it when the newest Job of this kind, or of this name, is done.")
@click.option("--workers", envvar="WORKERS", type=click.IntRange(1), help="Workers of an Indexed Job.")
@click.option("--overlay", envvar="OVERLAY", type=click.Choice(OVERLAYS), default="local", show_default=True)
@click.option("--dry-run", envvar="DRY_RUN", is_flag=True, help="Only print the Job.")
def submit(job: str, arguments: str, after: str | None, workers: int | None, overlay: str, dry_run: bool) -> None:
    """Create a Job with a name of its own. Nothing is in the cluster, no GPU is held, while it waits for --after."""
    own = with_arguments(render(job, overlay), shlex.split(arguments))
    own = named(with_workers(own, workers) if workers else own)
    text = yaml.safe_dump(own, sort_keys=False)
    if dry_run:
        click.echo(text)
        return
    check_server()
    if after:
        until_done(after)
    click.echo(kubectl("create", "--filename", "-", given=text).strip())
    click.echo(f"see: make wait JOB={own['metadata']['name']}; make logs JOB={own['metadata']['name']}", err=True)


@main.command()
@click.argument("job", envvar="JOB")
def wait(job: str) -> None:
    """Wait until the newest Job of this kind, or the one of this name, has ended; say why when it has failed."""
    click.echo(f"{until_done(job)} is complete")


@main.command()
@click.argument("job", envvar="JOB")
def logs(job: str) -> None:
    """Follow the logs of all pods of the newest Job of this kind, or of the one of this name."""
    name = find(job)["metadata"]["name"]
    options = ("--namespace", NAMESPACE, "--all-pods", "--prefix", "--follow", "--pod-running-timeout", "10m")
    sys.exit(subprocess.run([tool(), "logs", f"job/{name}", *options], check=False).returncode)


if __name__ == "__main__":
    main()
