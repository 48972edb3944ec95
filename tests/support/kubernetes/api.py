"""As much of the Kubernetes API over HTTP as `kubectl` needs to create Jobs and to look at Jobs and pods."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.kubernetes.manifests import Object

VERBS = ["create", "get", "list"]
JOBS = "/apis/batch/v1/namespaces/dogbreed/jobs"


class Api(ThreadingHTTPServer):
    """A server that keeps Jobs; `conditions` is what it says of every Job's state from look `done_at` on.

    The looks in `outages` get 503, lists of the resources in `forbidden` 403.
    """

    def __init__(self, minor: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.minor = minor
        self.jobs: list[Object] = []
        self.looks = 0
        self.conditions = [{"type": "Complete", "status": "True"}]
        self.pods: list[Object] = []
        self.events: list[Object] = []
        self.spec: Object = {}  # replaces fields of every Job's spec
        self.done_at = 2
        self.outages: set[int] = set()
        self.lost_responses = 0  # how many Jobs are created without the client learning it
        self.forbidden: set[str] = set()

    def create(self, job: Object) -> tuple[int, Object]:
        name = job["metadata"]["name"]
        if name in [found["metadata"]["name"] for found in self.jobs]:
            return 409, {"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "message": f"{name} exists"}
        job["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{len(self.jobs):02}Z"
        self.jobs.append(job | {"status": {}})
        if self.lost_responses:
            self.lost_responses -= 1
            return 503, {"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable"}
        return 201, job

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """Return what is at a path, None where nothing is."""
        if path.startswith(f"{JOBS}/"):
            self.looks += 1
            [job] = [found for found in self.jobs if found["metadata"]["name"] == path.rpartition("/")[2]]
            if self.looks in self.outages:
                return 503, {"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable"}
            status = {"conditions": self.conditions if self.looks >= self.done_at else []}
            return job | {"spec": job["spec"] | self.spec, "status": status}
        if path == JOBS:
            key, _, value = query["labelSelector"][0].partition("=")
            items = [job for job in self.jobs if job["metadata"]["labels"].get(key) == value]
            return {"kind": "JobList", "apiVersion": "batch/v1", "items": items}
        if path.rpartition("/")[2] in self.forbidden:
            return 403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "not for you"}
        if path == "/api/v1/namespaces/dogbreed/pods":
            return {"kind": "PodList", "apiVersion": "v1", "items": self.pods}
        if path == "/api/v1/namespaces/dogbreed/events":
            return {"kind": "EventList", "apiVersion": "v1", "items": self.events}
        return DISCOVERY.get(path) or ({"major": "1", "minor": self.minor} if path == "/version" else None)


def _resources(version: str, *kinds: str) -> Object:
    entries = [
        {"name": f"{kind.lower()}s", "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": VERBS}
        for kind in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": entries}


# that the server itself refuses unknown fields: without this kubectl asks for every schema
VALIDATES: Object = {
    "x-kubernetes-group-version-kind": {"group": "batch", "version": "v1", "kind": "Job"},
    "parameters": [{"name": "fieldValidation", "in": "query"}],
}
BATCH = {"groupVersion": "batch/v1", "version": "v1"}
DISCOVERY: dict[str, Object] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "batch", "versions": [BATCH], "preferredVersion": BATCH}],
    },
    "/openapi/v3": {"paths": {"apis/batch/v1": {"serverRelativeURL": "/openapi/v3/apis/batch/v1"}}},
    "/openapi/v3/apis/batch/v1": {"openapi": "3.0.0", "paths": {f"{JOBS}/name": {"patch": VALIDATES}}},
    "/api/v1": _resources("v1", "Pod", "Event"),
    "/apis/batch/v1": _resources("batch/v1", "Job"),
}


class Handler(BaseHTTPRequestHandler):
    """JSON in, JSON out."""

    server: Api

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        found = self.server.answer(url.path, parse_qs(url.query))
        if found is None:
            found = 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "not found"}
        self._send(*(found if isinstance(found, tuple) else (200, found)))

    def do_POST(self) -> None:
        self._send(*self.server.create(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

    def _send(self, code: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(kubeconfig: Path, minor: str = "33") -> Iterator[Api]:
    """Serve, with a kubeconfig that leads there."""
    with Api(minor) as api:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server_address[1]}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        config = {"kind": "Config", "clusters": [cluster], "contexts": [context], "current-context": "c"}
        kubeconfig.write_text(yaml.safe_dump(config))
        threading.Thread(target=api.serve_forever, daemon=True).start()
        yield api
        api.shutdown()
