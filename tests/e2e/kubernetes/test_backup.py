"""The component `backup` and the Job of k8s/restore, with a bucket of the stack's own store as the other one."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.support.e2e.cluster import kubectl
from tests.support.e2e.port_forward import forwarded, tracking
from tests.support.kubernetes.manifests import ROOT
from tests.support.kubernetes.submit import make

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
BUCKET, KEY = "backups", "e2e/object"


@pytest.fixture
def store() -> Iterator[Any]:
    """A client of the stack's store, in which the bucket of the backup is."""
    lines = (ROOT / "k8s" / "base" / "store.secret").read_text().splitlines()
    keys = {name.lower(): value for name, value in (line.split("=", 1) for line in lines)}
    with forwarded("service/object-store", 9000) as port:
        client = boto3.client("s3", endpoint_url=f"http://localhost:{port}", region_name="us-east-1", **keys)
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def manifests(tmp_path: Path, prefix: str) -> Path:
    """A copy of k8s/ whose overlay `local` has the component, with a target."""
    folder = tmp_path / "k8s"
    shutil.copytree(ROOT / "k8s", folder)
    keys = (folder / "base" / "store.secret").read_text()
    (folder / "components" / "backup" / "target.secret").write_text(keys)
    target = [f"BACKUP_TARGET=s3://{BUCKET}/{prefix}", "AWS_ENDPOINT_URL_S3=http://object-store:9000"]
    lines = [*target, "AWS_DEFAULT_REGION=us-east-1", "AWS_REQUEST_CHECKSUM_CALCULATION=when_supported"]
    (folder / "components" / "backup" / "target.env").write_text("\n".join(lines))
    overlay = folder / "overlays" / "local" / "kustomization.yaml"
    overlay.write_text(overlay.read_text() + yaml.safe_dump({"components": ["../../components/backup"]}))
    return folder


@pytest.fixture(autouse=True)
def no_jobs() -> Iterator[None]:
    yield
    kubectl("delete", "job", "backup-now", "restore", "--ignore-not-found")
    kubectl("delete", "cronjob", "backup", "--ignore-not-found")
    kubectl("scale", "deployment/mlflow", "--replicas=1")
    kubectl("rollout", "status", "deployment/mlflow", "--timeout=5m")


def await_job(name: str) -> str:
    """Wait until a Job is complete and return what its pods have printed."""
    waited = make("wait", JOB=name)
    assert waited.returncode == 0, waited.stderr
    return kubectl("logs", f"job/{name}", "--all-containers")


def make_run(name: str) -> None:
    """Make a run in MLflow's first experiment."""
    with tracking() as client:
        client.create_run("0", run_name=name)


def search_sql(text: str) -> str:
    """Run a statement in the database of searches, as its role, and return what it prints."""
    psql = ["psql", "--quiet", "--tuples-only", "--no-align", "--username=search", "--dbname=search"]
    return kubectl("exec", "deployment/postgres", "--", *psql, f"--command={text}").strip()


def run_names() -> set[str]:
    """Return the names of the runs of MLflow's first experiment."""
    with tracking() as client:
        return {str(run.info.run_name) for run in client.search_runs(["0"])}


def test_a_backup_brings_back_an_object_a_run_and_a_study(manifests: Path, store: Any, prefix: str) -> None:
    make_run(f"{prefix}-before")
    search_sql("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 7")
    store.put_object(Bucket="dogbreed", Key=KEY, Body=b"before")
    kubectl("apply", "--kustomize", str(manifests / "overlays" / "local"))
    kubectl("create", "job", "backup-now", "--from=cronjob/backup")
    print(f"\n{await_job('backup-now')}")
    make_run(f"{prefix}-after")
    search_sql("DROP TABLE kept")
    store.delete_object(Bucket="dogbreed", Key=KEY)
    kubectl("scale", "deployment/mlflow", "--replicas=0")
    kubectl("create", "--kustomize", str(manifests / "restore"))
    print(await_job("restore"))
    kubectl("scale", "deployment/mlflow", "--replicas=1")
    kubectl("rollout", "status", "deployment/mlflow", "--timeout=5m")
    assert store.get_object(Bucket="dogbreed", Key=KEY)["Body"].read() == b"before"
    assert search_sql("SELECT * FROM kept") == "7", "what stands for a study"
    search_sql("DROP TABLE kept")
    assert {f"{prefix}-before"} == {name for name in run_names() if name.startswith(prefix)}
