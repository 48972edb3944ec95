"""Jobs, pods and events of one namespace, read with kubectl."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import tenacity

NAMESPACE = os.environ.get("NAMESPACE") or "dogbreed"
OLDEST = (1, 33)  # backoffLimitPerIndex is stable from there on
LOOK_EVERY = float(os.environ.get("LOOK_EVERY") or 5)  # seconds between two looks at a Job
OUTAGE = 3600  # seconds: an upgrade of a control plane takes minutes
REFUSED = re.compile(
    r"\((NotFound|Forbidden|Unauthorized|BadRequest)\)|You must be logged in|does not exist|"
    r"doesn't have a resource type"
)
UNREACHABLE = re.compile(
    r"(?i)was refused|connection refused|unable to connect|timed? ?out|unexpected EOF|reset by peer|no route to host|"
    r"serviceunavailable|currently unable to handle|internal error|etcdserver"
)

Object = dict[str, Any]


class Refused(Exception):
    """The API server refuses a request for good."""


class Unreachable(Exception):
    """The API server does not respond, or responds with an error that passes."""


def tool() -> str:
    """Return the kubectl to use: KUBECTL, the pinned one of .venv, or the system's."""
    return os.environ.get("KUBECTL") or shutil.which("kubectl", path=Path(sys.executable).parent) or "kubectl"


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Run kubectl and return its output; if it fails, its own message is shown and the program exits with its code."""
    done = subprocess.run([tool(), *arguments], input=given, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def check_server() -> None:
    """Exit with 78 if the cluster is older than the manifests' features."""
    version = json.loads(kubectl("get", "--raw", "/version"))
    found = int(version["major"]), int(re.sub(r"\D", "", version["minor"]))  # some clouds say "33+"
    if found < OLDEST:
        click.echo("this cluster is Kubernetes {}.{}; the jobs need {}.{} or newer".format(*found, *OLDEST), err=True)
        sys.exit(78)


def get(*arguments: str) -> Object:
    """Return what `kubectl get` finds in the namespace; exits as `kubectl` does."""
    return dict(json.loads(kubectl("get", "--namespace", NAMESPACE, *arguments, "-o", "json")))


def get_items(*arguments: str) -> list[Object]:
    """Return the list that `kubectl get` finds while a Job is watched; an outage of the API server is waited for."""
    return list(watch(*arguments)["items"])


def _log_outage(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome:
        click.echo(f"the cluster does not respond, looking again: {state.outcome.exception()}", err=True)


retry_outage = tenacity.retry(
    retry=tenacity.retry_if_exception_type(Unreachable),
    wait=tenacity.wait_exponential(min=LOOK_EVERY, max=30),
    stop=tenacity.stop_after_delay(OUTAGE),
    before_sleep=_log_outage,
    reraise=True,
)


@retry_outage
def watch(*arguments: str) -> Object:
    """Return what `kubectl get` finds; unlike `get`, an outage of the API server is waited for.

    Raises:
        Refused: there is no such object, or no permission.
        Unreachable: the API server has not responded for OUTAGE seconds.
    """
    command = [tool(), "get", "--namespace", NAMESPACE, *arguments, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return dict(json.loads(done.stdout))
    if REFUSED.search(done.stderr):
        raise Refused(done.stderr.strip())
    raise Unreachable(done.stderr.strip())


@retry_outage
def create(name: str, text: str) -> str:
    """Create an object of a unique name and return kubectl's message; an outage of the API server is waited for.

    Raises:
        Refused: the API server does not accept it.
        Unreachable: the API server has not responded for OUTAGE seconds.
    """
    command = [tool(), "create", "--filename", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        click.echo(done.stderr, err=True, nl=False)  # warnings
        return done.stdout.strip()
    if "(AlreadyExists)" in done.stderr:  # an attempt whose response was lost
        return f"{name} created"
    if UNREACHABLE.search(done.stderr):
        raise Unreachable(done.stderr.strip())
    raise Refused(done.stderr.strip())


def find_job(job: str, kinds: list[str]) -> Object:
    """Return the Job of that name, or the newest one if it is one of the kinds; exits with 75 if there is none."""
    if job not in kinds:
        return get("job", job)
    items = get("jobs", "--selector", f"app.kubernetes.io/component={job}")["items"]
    if not items:
        click.echo(f"there is no {job} in namespace {NAMESPACE}; submit one first: make submit JOB={job}", err=True)
        sys.exit(75)
    return dict(max(items, key=lambda found: (found["metadata"]["creationTimestamp"], found["metadata"]["name"])))


def pods_of(name: str) -> list[Object]:
    """Return the pods of a Job."""
    return get_items("pods", "--selector", f"batch.kubernetes.io/job-name={name}")
