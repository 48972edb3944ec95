"""Services find pods, and pods may reach what their settings name and nothing else."""

import re
from base64 import b64decode
from collections.abc import Iterator

import pytest

from tests.support.kubernetes.manifests import JOBS, OVERLAYS, Manifests, Object, containers, of_kind, one, pod
from tests.support.kubernetes.network import Labels, Peer, allowed, matches

PLACE = re.compile(r"(?P<scheme>[a-z0-9+]+)://(?:[^@/]*@)?(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>\d+))?")
PORTS = {"http": 80, "https": 443, "postgresql+psycopg": 5432, "postgresql": 5432}
INTERNET, METADATA, NEIGHBOUR = "8.8.8.8", "169.254.169.254", "10.1.2.3"


def labels(owner: Object) -> Labels:
    found: Labels = pod(owner)["metadata"]["labels"]
    return found


def environment(objects: list[Object], container: Object) -> dict[str, str]:
    """Return what a container finds in its environment; of Secrets, the storage of searches, which is an address."""
    found: dict[str, str] = {}
    for entry in container.get("envFrom", []):
        if "configMapRef" in entry:
            found |= one(objects, "ConfigMap", entry["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        key = variable.get("valueFrom", {}).get("configMapKeyRef")
        value = one(objects, "ConfigMap", key["name"])["data"][key["key"]] if key else variable.get("value", "")
        found[variable["name"]] = value
        if variable["name"] == "DOGBREED_SEARCH_STORAGE":
            secret = one(objects, "Secret", variable["valueFrom"]["secretKeyRef"]["name"])["data"]
            found[variable["name"]] = b64decode(secret[variable["name"]]).decode()
    return found


def places(objects: list[Object], owner: Object) -> Iterator[tuple[str, int]]:
    """Yield host and port of every address in the environment of a pod; s3:// names no host."""
    for container in containers(owner):
        for value in environment(objects, container).values():
            for found in PLACE.finditer(value):
                if found["scheme"] != "s3":
                    yield found["host"], int(found["port"] or PORTS[found["scheme"]])


def pods(manifests: Manifests, overlay: str) -> list[Object]:
    return of_kind(manifests.overlays[overlay], "Deployment") + list(manifests.overlay_jobs[overlay].values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_place_that_a_pods_settings_name_may_be_reached(manifests: Manifests, overlay: str) -> None:
    objects, owners = manifests.overlays[overlay], pods(manifests, overlay)
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind(objects, "Service")}
    for owner in owners:
        for host, port in places(objects, owner):
            service = services.get(host)
            if service is None:
                assert "." in host, f"{host} is neither a Service nor a name of the internet"
                targets: list[Peer] = [INTERNET]
            else:
                assert port in [entry["port"] for entry in service["ports"]], (host, port)
                targets = [labels(o) for o in owners if matches({"matchLabels": service["selector"]}, labels(o))]
            assert targets, f"no pod is behind {host}"
            for target in targets:
                assert allowed(objects, labels(owner), target, port), (owner["metadata"]["name"], host, port)


def test_the_jobs_name_the_store_and_mlflow(manifests: Manifests) -> None:
    for name, job in manifests.overlay_jobs["local"].items():
        database = {("postgres", 5432)} if name == "search" else set()
        assert set(places(manifests.overlays["local"], job)) == {("object-store", 9000), ("mlflow", 5000)} | database
    for job in manifests.overlay_jobs["aws"].values():
        names = {host for host, port in places(manifests.overlays["aws"], job) if port == 443}
        assert names == {"s3.eu-central-1.amazonaws.com", "mlflow.example.com"}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_may_go_nowhere_else(manifests: Manifests, job: str) -> None:
    objects, own = manifests.overlays["local"], labels(manifests.overlay_jobs["local"][job])
    server = {name: labels(one(objects, "Deployment", name)) for name in ("object-store", "mlflow", "postgres")}
    assert allowed(objects, own, server["postgres"], 5432) == (job == "search")
    assert not allowed(objects, own, server["object-store"], 22)
    assert not allowed(objects, own, METADATA, 80)
    assert not allowed(objects, own, NEIGHBOUR, 443)
    assert not allowed(objects, own, {"app": "somebody else's"}, 443)
    assert allowed(objects, own, INTERNET, 443) == (job == "fetch")
    workers = labels(manifests.overlay_jobs["local"]["train-multiworker"])
    assert allowed(objects, own, workers, 2222) == (job == "train-multiworker")


def test_servers_go_only_to_their_own(manifests: Manifests) -> None:
    objects = manifests.overlays["local"]
    store, mlflow, postgres = (labels(one(objects, "Deployment", n)) for n in ("object-store", "mlflow", "postgres"))
    assert allowed(objects, mlflow, store, 9000)
    assert allowed(objects, mlflow, postgres, 5432)
    for server in (store, mlflow, postgres):
        assert not allowed(objects, server, INTERNET, 443)
        assert not allowed(objects, {"app": "somebody else's"}, server, 5000)
    assert not allowed(objects, store, mlflow, 5000)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_may_ask_for_names(manifests: Manifests, overlay: str) -> None:
    policy = one(manifests.overlays[overlay], "NetworkPolicy", "names")["spec"]
    assert policy["podSelector"] == {}
    assert {(e["protocol"], e["port"]) for e in policy["egress"][0]["ports"]} == {("UDP", 53), ("TCP", 53)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_selector_is_without_a_pod(manifests: Manifests, overlay: str) -> None:
    objects, owners = manifests.overlays[overlay], pods(manifests, overlay)
    selectors = [(s["metadata"]["name"], {"matchLabels": s["spec"]["selector"]}) for s in of_kind(objects, "Service")]
    selectors += [(p["metadata"]["name"], p["spec"]["podSelector"]) for p in of_kind(objects, "NetworkPolicy")]
    for name, selector in selectors:
        assert any(matches(selector, labels(owner)) for owner in owners), name
    for deployment in of_kind(objects, "Deployment"):
        assert matches(deployment["spec"]["selector"], labels(deployment))


def test_every_port_names_its_protocol(manifests: Manifests) -> None:
    """Without it `kubectl apply` reports a change at every run, and a server-side apply conflicts with it."""
    for objects in manifests.overlays.values():
        for policy in of_kind(objects, "NetworkPolicy"):
            rules = policy["spec"].get("ingress", []) + policy["spec"].get("egress", [])
            assert all("protocol" in entry for rule in rules for entry in rule.get("ports", [])), policy["metadata"]


def test_a_job_outside_reaches_the_agent_that_gives_it_a_role_and_no_nodes_metadata(manifests: Manifests) -> None:
    for job in manifests.overlay_jobs["aws"].values():
        assert allowed(manifests.overlays["aws"], labels(job), "169.254.170.23", 80)
        assert not allowed(manifests.overlays["aws"], labels(job), METADATA, 80)


@pytest.mark.parametrize("job", JOBS)
def test_of_the_jobs_outside_only_a_search_reaches_a_database(manifests: Manifests, job: str) -> None:
    objects, own = manifests.overlays["aws"], labels(manifests.overlay_jobs["aws"][job])
    for address in (INTERNET, NEIGHBOUR):
        assert allowed(objects, own, address, 5432) == (job == "search")
    assert not allowed(objects, own, METADATA, 5432)


def test_a_backup_reaches_store_database_and_the_other_store(manifests: Manifests) -> None:
    objects = manifests.extended
    server = {name: labels(one(objects, "Deployment", name)) for name in ("object-store", "mlflow", "postgres")}
    for owner in (one(objects, "CronJob", "backup"), one(manifests.once["restore"], "Job", "restore")):
        assert allowed(objects, labels(owner), server["object-store"], 9000)
        assert allowed(objects, labels(owner), server["postgres"], 5432)
        assert allowed(objects, labels(owner), INTERNET, 443)
        assert not allowed(objects, labels(owner), server["mlflow"], 5000)
        assert not allowed(objects, labels(owner), METADATA, 80)
