"""The backup of the stack in a cluster: what the CronJob copies, the restore Job brings back."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.kubernetes.manifests import ROOT, Manifests, containers, one
from tests.support.servers import free_port, s3_server

SCRIPT = ROOT / "k8s" / "components" / "backup" / "backup.py"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
TARGET = "s3://backups/some/prefix"
needs_postgres = pytest.mark.skipif(not PROGRAMS, reason="needs PostgreSQL's programs")


class Stores:
    """A stack's store and another one (here two sets of buckets of one server), and a dump beside them."""

    def __init__(self, variables: dict[str, str], folder: Path) -> None:
        self.variables, self.dump = variables, folder / "database.sql"
        keys = {"aws_access_key_id": variables["AWS_ACCESS_KEY_ID"]}
        keys["aws_secret_access_key"] = variables["AWS_SECRET_ACCESS_KEY"]
        place = {"endpoint_url": variables["AWS_ENDPOINT_URL_S3"], "region_name": variables["AWS_DEFAULT_REGION"]}
        self.client: Any = boto3.client("s3", **place, **keys)
        for bucket in ("dogbreed", "mlflow", "backups"):
            self.client.create_bucket(Bucket=bucket)

    def run(self, command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        own = {
            "BACKUP_TARGET": TARGET,
            "DUMP": str(self.dump),
            "STACK_ENDPOINT_URL": self.variables["AWS_ENDPOINT_URL_S3"],
            "STACK_REGION": self.variables["AWS_DEFAULT_REGION"],
            "STACK_ACCESS_KEY": self.variables["AWS_ACCESS_KEY_ID"],
            "STACK_SECRET_KEY": self.variables["AWS_SECRET_ACCESS_KEY"],
        }
        environment = {"PATH": os.environ["PATH"], **self.variables, **own, **more}
        words = [sys.executable, str(SCRIPT), command]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    def write(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data, ContentType="image/png")

    def read(self, bucket: str, key: str) -> tuple[bytes, str]:
        found = self.client.get_object(Bucket=bucket, Key=key)
        return found["Body"].read(), found["ContentType"]

    def keys(self, bucket: str) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    with s3_server(tmp_path) as (_, variables):
        yield Stores(variables, tmp_path)


def test_an_emptied_stack_is_as_before_after_a_restore(stores: Stores) -> None:
    stores.write("dogbreed", "datasets/a b/ü.tfrecord", b"shard")
    stores.write("mlflow", "artifacts/1/model", bytes(range(256)) * 50_000)  # goes in parts
    stores.dump.write_text("CREATE TABLE runs;")
    done = stores.run("backup")
    assert done.returncode == 0, done.stderr
    for bucket in ("dogbreed", "mlflow"):
        for key in stores.keys(bucket):
            stores.client.delete_object(Bucket=bucket, Key=key)
    stores.dump.unlink()
    done = stores.run("restore")
    assert done.returncode == 0, done.stderr
    assert stores.read("dogbreed", "datasets/a b/ü.tfrecord") == (b"shard", "image/png")
    assert stores.read("mlflow", "artifacts/1/model") == (bytes(range(256)) * 50_000, "image/png")
    assert stores.dump.read_text() == "CREATE TABLE runs;"
    assert "mlflow: objects copied: 0, already there: 1" in stores.run("restore").stdout, "unchanged"


def test_the_next_backup_copies_what_has_changed_and_deletes_nothing(stores: Stores) -> None:
    for key in ("same", "changed", "deleted"):
        stores.write("dogbreed", key, b"1")
    stores.dump.write_text("one")
    assert stores.run("backup").returncode == 0
    stores.write("dogbreed", "changed", b"22")
    stores.client.delete_object(Bucket="dogbreed", Key="deleted")
    done = stores.run("backup")
    assert "dogbreed: objects copied: 1, already there: 1" in done.stdout
    kept = [key for key in stores.keys("backups") if "/buckets/dogbreed/" in key]
    assert [key.rpartition("/")[2] for key in kept] == ["changed", "deleted", "same"]
    assert stores.read("backups", "some/prefix/buckets/dogbreed/changed")[0] == b"22"


def test_a_dump_that_is_not_there_is_refused_with_those_that_are(stores: Stores) -> None:
    stores.dump.write_text("one")
    assert stores.run("backup").returncode == 0
    [name] = [key.rpartition("/")[2] for key in stores.keys("backups")]
    done = stores.run("restore", BACKUP_DUMP="20200101T000000Z.sql.gz")
    assert done.returncode == 1
    assert name in done.stderr
    assert stores.run("restore", BACKUP_TARGET="backups").returncode == 1


class Database:
    """A PostgreSQL of its own with the user and the database that the image makes."""

    def __init__(self, folder: Path, password: str) -> None:
        self.folder, self.port = folder, free_port()
        self.user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses root
        folder.mkdir()
        if self.user:
            shutil.chown(folder, self.user)
        (folder / "password").write_text(password)
        self.variables = {"PATH": f"{PROGRAMS[-1].parent}:/usr/bin:/bin", "PGHOST": "127.0.0.1", "PGUSER": "mlflow"}
        self.variables |= {"PGPORT": str(self.port), "PGPASSWORD": password, "LC_ALL": "C.UTF-8"}
        self.do("initdb", "-D", "data", "--username=mlflow", "--pwfile=password", "--auth-host=scram-sha-256")
        options = f"-p {self.port} -k {folder} -h 127.0.0.1"
        self.do("pg_ctl", "-D", "data", "-o", options, "-l", "log", "-w", "start")
        self.do("createdb", "mlflow")

    def do(self, *words: str) -> str:
        place = {"cwd": self.folder, "env": self.variables, "user": self.user}
        with (self.folder.parent / "out").open("w+") as out:  # the server that pg_ctl starts would hold a pipe open
            done = subprocess.run(words, **place, stdout=out, stderr=subprocess.STDOUT, check=False)
            out.seek(0)
            output = out.read()
        assert done.returncode == 0, output
        return output

    def sql(self, *texts: str, database: str = "mlflow") -> str:
        """Run statements, each in a transaction of its own, and return what they print."""
        commands = [f"--command={text}" for text in texts]
        return self.do("psql", "--quiet", "--tuples-only", "--no-align", f"--dbname={database}", *commands)

    def make_search(self, password: str, table: str) -> None:
        """Make role and database of searches, as stack_init.py does, with a table."""
        self.sql(f"CREATE ROLE search LOGIN PASSWORD '{password}'", "CREATE DATABASE search OWNER search")
        self.sql("SET ROLE search", table, database="search")

    def can_log_in(self, password: str) -> bool:
        """Return whether the role of searches has this password."""
        variables = {**self.variables, "PGUSER": "search", "PGPASSWORD": password}
        command = ["psql", "--dbname=search", "--command=SELECT 1"]
        return subprocess.run(command, env=variables, capture_output=True, check=False).returncode == 0

    def stop(self) -> None:
        self.do("pg_ctl", "-D", "data", "-m", "immediate", "stop")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may write; pytest's are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def databases(open_folder: Path) -> Iterator[tuple[Database, Database]]:
    """The database of an old stack, and that of a new one, in which the server has made a table at its first start."""
    old, new = Database(open_folder / "old", "old-password"), Database(open_folder / "new", "new-password")
    try:
        old.sql("CREATE TABLE runs (id int)", "INSERT INTO runs VALUES (1), (2)")
        new.sql("CREATE TABLE runs (id int, other int)")
        yield old, new
    finally:
        for database in (old, new):
            database.stop()


def move(manifests: Manifests, old: Database, new: Database) -> None:
    """Dump a database as the CronJob does, and restore it as the Job does."""
    [dump, _] = containers(one(manifests.extended, "CronJob", "backup"))
    [_, restore] = containers(one(manifests.once["restore"], "Job", "restore"))
    for database, container in ((old, dump), (new, restore)):
        [script] = container["args"]
        database.do(*container["command"], script.replace("/backup", str(old.folder.parent)))


@needs_postgres
def test_the_databases_of_a_dump_replace_those_of_a_new_stack(
    databases: tuple[Database, Database], manifests: Manifests
) -> None:
    old, new = databases
    old.make_search("old-search", "CREATE TABLE studies AS SELECT 7 AS id")
    new.make_search("new-search", "CREATE TABLE studies (id int, other int)")
    for _ in range(2):  # a pod that is replaced begins anew
        move(manifests, old, new)
        assert new.sql("SELECT id FROM runs ORDER BY id").split() == ["1", "2"], "with its own password"
        assert new.sql("SET ROLE search", "SELECT id FROM studies", database="search").split() == ["7"]
        assert new.can_log_in("new-search")


@needs_postgres
def test_a_dump_brings_the_role_of_searches_to_a_server_without_it(
    databases: tuple[Database, Database], manifests: Manifests
) -> None:
    old, new = databases
    old.make_search("old-search", "CREATE TABLE studies AS SELECT 7 AS id")
    move(manifests, old, new)
    assert new.sql("SET ROLE search", "SELECT id FROM studies", database="search").split() == ["7"]
    assert not new.can_log_in("old-search"), "no password is in a dump"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "docker")}
    address = f"postgresql+psycopg://mlflow:new-password@127.0.0.1:{new.port}/mlflow"
    program = "import stack_init, sys; stack_init.make_search_database(sys.argv[1], 'new-search')"
    subprocess.run([sys.executable, "-c", program, address], env=variables, check=True)
    assert new.can_log_in("new-search"), "which `init` sets when MLflow starts"


@needs_postgres
def test_a_dump_from_before_there_were_searches_leaves_theirs(
    databases: tuple[Database, Database], manifests: Manifests
) -> None:
    old, new = databases
    new.make_search("new-search", "CREATE TABLE studies AS SELECT 8 AS id")
    move(manifests, old, new)
    assert new.sql("SELECT id FROM runs ORDER BY id").split() == ["1", "2"]
    assert new.sql("SELECT id FROM studies", database="search").split() == ["8"]
    assert new.can_log_in("new-search")
