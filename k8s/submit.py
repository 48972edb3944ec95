"""Submit a job to Kubernetes, wait for its end, follow its logs: `make submit`, `make wait`, `make logs`.

A job is rendered from k8s/jobs with the changes of an overlay and gets a name of its own, so that any number of them
may be there at a time. Everything else is plain kubectl.
"""

import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import yaml
from cluster import (
    LOOK_EVERY,
    NAMESPACE,
    Object,
    Refused,
    Unreachable,
    check_server,
    create,
    find_job,
    kubectl,
    pods_of,
    tool,
    watch,
)
from diagnosis import endings, problems

HERE = Path(__file__).parent
JOBS = sorted(path.parent.name for path in HERE.glob("jobs/*/job.yaml"))
OVERLAYS = sorted(path.parent.name for path in HERE.glob("overlays/*/jobs"))
WORKERS = re.compile(r"DOGBREED_(\w+_)?WORKERS")  # variables that repeat a Job's number of completions
TRAININGS = ("train", "train-multiworker")
PRIORITIES = ("low", "high")  # the classes of k8s/queue


def render(job: str, overlay: str) -> Object:
    """Return the Job of k8s/jobs with the overlay's changes, in the namespace."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()  # kustomize follows links before it goes up
        parts = {"resources": HERE / "jobs" / job, "components": HERE / "overlays" / overlay / "jobs"}
        relative = {key: [os.path.relpath(path.resolve(), here)] for key, path in parts.items()}
        (here / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": NAMESPACE, **relative}))
        rendered: Object = yaml.safe_load(kubectl("kustomize", str(here)))
    return rendered


def with_name(job: Object) -> Object:
    """Give the Job a name that no other has: its kind, the time, four random digits."""
    name = f"{job['metadata']['name']}-{datetime.now(UTC):%m%d-%H%M%S}-{secrets.token_hex(2)}"
    job["metadata"]["name"] = name
    for meta in (job["metadata"], job["spec"]["template"]["metadata"]):
        meta["labels"]["app.kubernetes.io/instance"] = name
    return job


def with_arguments(job: Object, text: str) -> Object:
    """Append a job's options, which win over its environment, and note them for people who look at the Job."""
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise click.UsageError(f"ARGS={text!r}: {error}; close the quotation") from error
    if "--restart" in arguments and job["metadata"]["name"] in TRAININGS:
        raise click.UsageError("--restart would discard all progress in each new pod of the Job; every Job begins anew")
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


def with_priority(job: Object, priority: str) -> Object:
    """Set the priority of the pods, and that in the queue of Kueue, to one of the classes of k8s/queue."""
    job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] = f"dogbreed-{priority}"
    job["spec"]["template"]["spec"]["priorityClassName"] = f"dogbreed-{priority}"
    return job


def until_done(job: str) -> str:
    """Wait for a Job's end and return its name; show what holds it up. If it fails, say why and exit with 1."""
    name = find_job(job, JOBS)["metadata"]["name"]
    click.echo(f"waiting for {name}", err=True)
    shown: set[str] = set()
    while True:
        found = watch("job", name)
        end = _end_of(found)
        if end.get("type") == "Complete":
            return str(name)
        pods = pods_of(name)
        if end:
            click.echo(f"{name} failed: {end.get('message', 'no reason given')}", err=True)
            for line in endings(pods):
                if line not in shown:
                    click.echo(line, err=True)
            sys.exit(1)
        for line in problems(found, pods):
            if line not in shown:
                shown.add(line)
                click.echo(line, err=True)
        time.sleep(LOOK_EVERY)


def _end_of(job: Object) -> Object:
    """Return the condition Complete or Failed of a Job that has ended; empty for any other."""
    conditions = [c for c in job["status"].get("conditions", []) if c["status"] == "True"]
    return next((c for c in conditions if c["type"] in ("Complete", "Failed")), {})


@click.group()
def main() -> None:
    """Jobs in Kubernetes; each option may also come from the environment, as `make` passes it on.

    NAMESPACE is the namespace of all commands, by default dogbreed. LOOK_EVERY is the number of seconds between two
    looks at a Job, by default 5.
    """


@main.command()
@click.argument("job", envvar="JOB", type=click.Choice(JOBS))
@click.option("--args", "arguments", envvar="ARGS", default="", help="Options of the job, as on its command line.")
@click.option("--after", envvar="AFTER", help="Create it when the newest Job of this kind, or of this name, is done.")
@click.option("--workers", envvar="WORKERS", type=click.IntRange(1), help="Workers of an Indexed Job.")
@click.option("--priority", envvar="PRIORITY", type=click.Choice(PRIORITIES), help="A class of k8s/queue.")
@click.option("--overlay", envvar="OVERLAY", type=click.Choice(OVERLAYS), default="local", show_default=True)
@click.option("--dry-run", envvar="DRY_RUN", is_flag=True, help="Only print the Job.")
def submit(
    job: str,
    arguments: str,
    after: str | None,
    workers: int | None,
    priority: str | None,
    overlay: str,
    dry_run: bool,
) -> None:
    """Create a Job with a name of its own. Nothing is in the cluster, no GPU is held, while it waits for --after."""
    own = with_arguments(render(job, overlay), arguments)
    own = with_workers(own, workers) if workers else own
    own = with_priority(own, priority) if priority else own
    if dry_run:
        click.echo(yaml.safe_dump(with_name(own), sort_keys=False))
        return
    check_server()
    if after:
        until_done(after)
    name = with_name(own)["metadata"]["name"]
    click.echo(create(name, yaml.safe_dump(own, sort_keys=False)))
    click.echo(f"see: make wait JOB={name}; make logs JOB={name}", err=True)


@main.command()
@click.argument("job", envvar="JOB")
def wait(job: str) -> None:
    """Wait until the newest Job of this kind, or the one of this name, has ended; say why when it has failed."""
    click.echo(f"{until_done(job)} is complete")


@main.command()
@click.argument("job", envvar="JOB")
def logs(job: str) -> None:
    """Follow the logs of all pods of the newest Job of this kind, or of the one of this name."""
    found = find_job(job, JOBS)
    name, pods = found["metadata"]["name"], pods_of(found["metadata"]["name"])
    if _end_of(found) and not pods:
        click.echo(f"the pods of {name} are deleted, and their logs; make wait JOB={name} tells how it ended", err=True)
        sys.exit(75)
    options = ("--namespace", NAMESPACE, "--all-pods", "--prefix", "--follow", "--pod-running-timeout", "10m")
    concurrency = str(len(pods) + found["spec"].get("parallelism", 1))  # kubectl's default is 5
    command = [tool(), "logs", f"job/{name}", *options, "--max-log-requests", concurrency]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        click.echo(error, err=True)
        sys.exit(1)
    except Unreachable as error:
        click.echo(f"the cluster has not responded for an hour: {error}", err=True)
        sys.exit(69)
