"""What every pod promises: the restricted profile, probes, bounds, credentials that exist."""

import copy
import os
import re
import subprocess
import tomllib
from base64 import b64decode
from pathlib import Path

import click
import pytest

from jobs import search
from tests.support.compose import services
from tests.support.kubernetes.manifests import JOBS, OVERLAYS, ROOT, Manifests, Object, containers, of_kind, one, pod

RESTRICTED_VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
SEARCH_KEYS = (("search-database", "SEARCH_PASSWORD"), ("search", "DOGBREED_SEARCH_STORAGE"))  # Secret and key
OWN_IMAGES = ("preprocess", "train", "train-gpu", "mlflow")
HOST = ("hostNetwork", "hostPID", "hostIPC")


def violations(owner: Object) -> list[str]:
    """Return what Pod Security "restricted" would refuse, and what this suite wants beyond it."""
    spec = pod(owner)["spec"]
    security = spec.get("securityContext", {})
    found = [name for name in HOST if spec.get(name)]
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        found.append("may be root")
    if not security.get("runAsGroup"):
        found.append("may be of root's group")
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("no seccomp profile")
    if any(set(volume) - {"name"} - RESTRICTED_VOLUMES for volume in spec["volumes"]):
        found.append("a volume of the host")
    if spec.get("automountServiceAccountToken") is not False or spec.get("enableServiceLinks") is not False:
        found.append("a token, or Services as variables")
    if spec.get("serviceAccountName", "default") == "default":
        found.append("the ServiceAccount of others")
    for container in containers(owner):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append("may become privileged")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("has capabilities")
        if not own.get("readOnlyRootFilesystem"):
            found.append("may write to the image")
    return found


def owners(manifests: Manifests) -> list[tuple[str, Object]]:
    return [
        (name, found)
        for name, objects in manifests.combinations.items()
        for found in of_kind(objects, "Job", "CronJob", "Deployment")
    ]


def test_every_pod_is_restricted(manifests: Manifests) -> None:
    assert {name: bad for name, owner in owners(manifests) if (bad := violations(owner))} == {}
    for folder in ("namespace", "volumes"):
        namespace = one(manifests.once[folder], "Namespace", "dogbreed")["metadata"]["labels"]
        assert {namespace[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {
            "restricted"
        }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_deleting_an_overlay_keeps_the_namespace_and_the_volumes(manifests: Manifests, overlay: str) -> None:
    assert of_kind(manifests.overlays[overlay], "Namespace", "PersistentVolumeClaim") == []
    assert len(of_kind(manifests.once["volumes"], "PersistentVolumeClaim")) == 2


def test_a_loosened_pod_is_found(manifests: Manifests) -> None:
    job = copy.deepcopy(manifests.component_jobs[()]["train"])
    spec = pod(job)["spec"]
    spec["hostNetwork"] = True
    spec["volumes"].append({"name": "etc", "hostPath": {"path": "/etc"}})
    del spec["securityContext"]["runAsUser"]
    del spec["securityContext"]["runAsGroup"]
    del spec["securityContext"]["seccompProfile"]
    del spec["enableServiceLinks"]
    del spec["serviceAccountName"]
    spec["containers"][0]["securityContext"] = {}
    assert len(violations(job)) == 10


def test_everything_writable_is_bounded(manifests: Manifests) -> None:
    for name, owner in owners(manifests):
        volumes = {volume["name"]: volume for volume in pod(owner)["spec"]["volumes"]}
        for volume in volumes.values():
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], (name, volume)
        for container in containers(owner):
            assert container["resources"]["limits"]["memory"], name
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys(), name
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys(), name
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name


def test_a_shared_memory_that_is_full_does_not_exceed_the_memory_limit(manifests: Manifests) -> None:
    for name, owner in owners(manifests):
        sizes = [v["emptyDir"]["sizeLimit"] for v in pod(owner)["spec"]["volumes"] if "medium" in v.get("emptyDir", {})]
        assert all(bytes_of(size) < bytes_of(containers(owner)[-1]["resources"]["limits"]["memory"]) for size in sizes)
        assert bool(sizes) == (owner["metadata"]["name"] in ("train", "train-multiworker", "search", "postgres")), name


def bytes_of(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]i)?", quantity).groups()  # type: ignore[union-attr]
    return int(number) << {None: 0, "Ki": 10, "Mi": 20, "Gi": 30}[unit]


def test_servers_have_all_three_probes_on_a_port_that_they_open(manifests: Manifests) -> None:
    for server in of_kind(manifests.overlays["local"], "Deployment"):
        [container] = pod(server)["spec"]["containers"]
        ports = {entry["containerPort"] for entry in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            action = container[probe].get("httpGet") or container[probe].get("tcpSocket") or container[probe]["exec"]
            assert action.get("port", 5432) in ports
        assert container["livenessProbe"]["failureThreshold"] * container["livenessProbe"]["periodSeconds"] >= 60


def test_the_stack_is_the_one_of_compose(manifests: Manifests) -> None:
    compose = services()
    for server in of_kind(manifests.overlays["local"], "Deployment"):
        name, [container] = server["metadata"]["name"], pod(server)["spec"]["containers"]
        assert container["image"] == compose[name]["image"]
        assert bytes_of(container["resources"]["limits"]["memory"]) == int(
            compose[name]["deploy"]["resources"]["limits"]["memory"]
        )
        here, there = {v["name"]: v.get("value") for v in container["env"]}, compose[name]["environment"]
        others = {"PGDATA", "MLFLOW_BASIC_AUTH", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ALLOWED_HOSTS"}
        assert {n: there[n] for n, value in here.items() if value and n not in others} == {
            n: value for n, value in here.items() if value and n not in others
        }
        probed = container["readinessProbe"].get("httpGet", {}).get("path", "pg_isready")
        assert probed in " ".join(compose[name]["healthcheck"]["test"])


@pytest.mark.parametrize("overlay", [*OVERLAYS, "local-extended"])
def test_every_setting_credential_and_volume_that_is_named_exists(manifests: Manifests, overlay: str) -> None:
    objects = manifests.combinations[f"overlay-{overlay}"] + manifests.once["volumes"]
    there = {(o["kind"], o["metadata"]["name"]): o.get("data", {}) for o in objects}
    kinds = dict.fromkeys(("configMapRef", "configMapKeyRef"), "ConfigMap")
    kinds |= dict.fromkeys(("secretRef", "secretKeyRef"), "Secret")
    jobs = [*manifests.overlay_jobs[overlay.removesuffix("-extended")].values()]
    jobs += of_kind(manifests.once["restore"], "Job") if overlay == "local-extended" else []
    for owner in of_kind(objects, "Deployment", "CronJob") + jobs:
        for container in containers(owner):
            for entry in container.get("envFrom", []):
                [(kind, reference)] = entry.items()
                assert there[kinds[kind], reference["name"]]
            for variable in container.get("env", []):
                for kind, reference in variable.get("valueFrom", {}).items():
                    if kind != "fieldRef":
                        owned = there[
                            {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}[kind], reference["name"]
                        ]
                        assert reference["key"] in owned
        assert ("ServiceAccount", pod(owner)["spec"]["serviceAccountName"]) in there
        for volume in pod(owner)["spec"]["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there


def test_a_reference_within_a_value_is_to_a_variable_that_stands_before_it(manifests: Manifests) -> None:
    for _, owner in owners(manifests):
        for container in containers(owner):
            seen: set[str] = set()
            for variable in container.get("env", []):
                assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= seen
                seen.add(variable["name"])


def test_a_registrys_password_belongs_to_every_pod(manifests: Manifests) -> None:
    accounts = of_kind(manifests.extended, "ServiceAccount")
    assert {account["metadata"]["name"] for account in accounts} >= {"jobs", "mlflow", "object-store", "postgres"}
    assert all(account["imagePullSecrets"] == [{"name": "registry"}] for account in accounts)
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_a_pod_with_a_role_of_the_cloud_needs_no_keys(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path)
    (tmp_path / "k8s" / "base" / "store.secret").write_text("")
    assert one(manifests.overlays["aws"], "Secret", "store")["data"] == {}


def test_without_the_stack_a_search_has_no_storage_until_a_user_names_one(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one(manifests.overlays["aws"], "Secret", "search")["data"] == {"DOGBREED_SEARCH_STORAGE": ""}
    monkeypatch.setenv("DOGBREED_SEARCH_STORAGE", "")
    options = search.main.make_context("search", ["--data", "s3://bucket/data", "--recipe", "simple-64"]).params
    assert options["storage"] is None
    with pytest.raises(click.UsageError, match="--storage"):
        search._default_storage("s3://bucket/checkpoints")


def secrets(container: Object) -> set[str]:
    """Return the names of the Secrets from which a container has variables."""
    entries = [entry.get("secretRef") for entry in container.get("envFrom", [])]
    entries += [variable.get("valueFrom", {}).get("secretKeyRef") for variable in container.get("env", [])]
    return {entry["name"] for entry in entries if entry}


def test_each_container_has_the_credentials_of_its_role_only(manifests: Manifests) -> None:
    for _, job in owners(manifests):
        if job["metadata"]["name"] in JOBS:
            own = {"search"} if job["metadata"]["name"] == "search" else set()
            assert secrets(containers(job)[0]) == {"store", "mlflow"} | own
    servers = of_kind(manifests.overlays["local"], "Deployment")
    assert {container["name"]: secrets(container) for server in servers for container in containers(server)} == {
        "object-store": {"store-admin"},
        "postgres": {"database"},
        "init": {"store-admin", "database", "search-database"},
        "mlflow": {"mlflow-server", "mlflow-admin", "database"},
    }


def test_servers_and_jobs_agree_on_the_credentials(manifests: Manifests) -> None:
    data = {found["metadata"]["name"]: found["data"] for found in of_kind(manifests.overlays["local"], "Secret")}
    assert [*data["store"].values()] == [*data["store-admin"].values()]
    assert data["store"].items() <= data["mlflow-server"].items()
    assert {*data["mlflow"].values()} == {*data["mlflow-admin"].values()}
    assert data["database"].keys() == {"POSTGRES_PASSWORD"}
    password, storage = (b64decode(data[n][k]).decode() for n, k in SEARCH_KEYS)
    assert len(password) == 32
    assert storage == f"postgresql://search:{password}@postgres/search"


def test_a_database_that_replays_its_log_is_alive_and_not_ready(tmp_path: Path, manifests: Manifests) -> None:
    container = containers(one(manifests.overlays["local"], "Deployment", "postgres"))[0]
    stand_in = tmp_path / "pg_isready"
    stand_in.write_text('#!/bin/sh\nexit "$CODE"\n')
    stand_in.chmod(0o755)

    def probe(name: str, code: int) -> bool:
        variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CODE": str(code)}
        return subprocess.run(container[name]["exec"]["command"], env=variables, check=False).returncode == 0

    answers, refuses, silent = 0, 1, 2  # exit codes of pg_isready
    assert [probe("readinessProbe", code) for code in (answers, refuses, silent)] == [True, False, False]
    for name in ("startupProbe", "livenessProbe"):
        assert [probe(name, code) for code in (answers, refuses, silent)] == [True, True, False]


def test_every_object_and_pod_has_the_common_labels(manifests: Manifests) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    common = {"name": "dogbreed", "part-of": "dogbreed", "version": pyproject["project"]["version"]}
    wanted = {f"app.kubernetes.io/{key}": value for key, value in {**common, "managed-by": "kustomize"}.items()}
    for name, objects in manifests.combinations.items():
        for found in objects:
            assert wanted.items() <= found["metadata"].get("labels", {}).items(), (name, found["kind"])
    for _, owner in owners(manifests):
        assert wanted.items() <= pod(owner)["metadata"]["labels"].items()
        images = {container["image"].rpartition("/")[2] for container in containers(owner)}
        tags = {image.split(":")[1] for image in images if image.split(":")[0] in OWN_IMAGES}
        assert tags <= {wanted["app.kubernetes.io/version"]}


def test_every_object_is_in_the_namespace(manifests: Manifests) -> None:
    outside = {"Namespace", "PriorityClass", "ResourceFlavor", "ClusterQueue", "WorkloadPriorityClass"}
    for name, objects in manifests.combinations.items():
        for found in objects:
            namespace = found["metadata"].get("namespace")
            assert (namespace is None) if found["kind"] in outside else (namespace == "dogbreed"), (name, found["kind"])


def test_a_quota_admits_every_pod(manifests: Manifests) -> None:
    hard = one(manifests.extended, "ResourceQuota", "dogbreed")["spec"]["hard"]
    [limits] = one(manifests.extended, "LimitRange", "dogbreed")["spec"]["limits"]
    for name, owner in owners(manifests):
        for container in containers(owner):
            asked = container["resources"]["requests"].get("cpu", "0")
            most = container["resources"]["limits"].get("cpu", limits["default"]["cpu"])
            assert cores(asked) <= cores(most) <= cores(hard["limits.cpu"]), name
    servers = of_kind(manifests.overlays["local"], "Deployment")
    workers = manifests.component_jobs[()]["preprocess"]
    needed = sum(cores(containers(server)[-1]["resources"]["requests"]["cpu"]) for server in servers)
    needed += workers["spec"]["completions"] * cores(containers(workers)[0]["resources"]["requests"]["cpu"])
    assert needed <= cores(hard["requests.cpu"])


def cores(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)
