"""`docker compose up`, again, after every kind of death, with several workers, from a backup."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest
import requests

from tests.support.e2e.stack import CANARIES, DOCKER, ROOT, Stack, docker, eventually

pytestmark = pytest.mark.e2e

CHAIN = ("fetch", "preprocess", "train", "evaluate")
SERVERS = ("object-store", "postgres", "mlflow")


def test_one_command_ends_with_a_reviewed_model(stack: Stack) -> None:
    made, trained, tested = (stack.summary(job) for job in CHAIN[1:])
    assert made["splits"] == {"train": 64, "validation": 8, "test": 48}
    client = stack.tracking
    run = client.get_run(trained["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["dogbreed.dataset_digest"] == made["digest"]
    assert len(client.get_metric_history(run.info.run_id, "val_top1")) == trained["epochs"] == 8
    assert client.get_model_version_by_alias("dogbreed", "candidate").version == str(trained["model_version"])
    assert client.get_run(tested["run_id"]).data.metrics["test_top1"] == tested["top1"]


def test_pictures_and_model_come_through_the_server(stack: Stack, tmp_path: Path) -> None:
    client, run = stack.tracking, stack.summary("evaluate")["run_id"]
    picture = client.download_artifacts(run, "figures/confusion_matrix_test.png", str(tmp_path))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    version = client.get_model_version_by_alias("dogbreed", "candidate").version
    mlflow.set_tracking_uri(f"http://localhost:{stack.mlflow_port}")
    model = mlflow.artifacts.download_artifacts(f"models:/dogbreed/{version}", dst_path=str(tmp_path / "model"))
    requirements = (Path(model) / "requirements.txt").read_text()
    assert re.search(r"^tensorflow==2\.21\.", requirements, re.MULTILINE), requirements


def test_the_second_time_nothing_is_computed(stack: Stack) -> None:
    before = stack.everything()
    stack.up()
    assert stack.everything() == before
    for job, said in zip(CHAIN[1:], ("complete already", "already trained", "already evaluated"), strict=True):
        assert said in stack.logs(job)


def test_the_ui_shows_the_run_in_a_browser(stack: Stack) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    run = stack.tracking.get_run(stack.summary("train")["run_id"])
    page = f"http://localhost:{stack.mlflow_port}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    shown = ROOT / "build" / "e2e"
    shown.mkdir(parents=True, exist_ok=True)
    quiet = ("background-networking", "component-update", "sync", "gpu")
    options = ["--headless", "--no-sandbox", "--window-size=1400,1000", "--virtual-time-budget=30000"]
    options += [f"--disable-{what}" for what in quiet]
    for extra in (f"--screenshot={shown}/run.png", "--dump-dom"):
        done = subprocess.run([browser, *options, extra, page], capture_output=True, text=True, timeout=120, check=True)
    assert run.info.run_name in done.stdout
    assert (shown / "run.png").stat().st_size > 20_000


def test_one_off_jobs_take_options(stack: Stack) -> None:
    options = ("--recipe", "simple-64", "--epochs", "1", "--batch-size", "16")
    done = stack.compose("run", "--rm", "train", *options)
    assert json.loads(done.stdout.splitlines()[-1])["epochs"] == 1
    other = stack.tracking.get_model_version_by_alias("dogbreed", "candidate").version
    before = stack.summary("evaluate")
    stack.up()
    assert stack.summary("evaluate") == before, "the chain evaluates the model that it trained"
    assert stack.tracking.get_model_version_by_alias("dogbreed", "candidate").version != other


def test_the_stores_keys_can_be_changed(stack: Stack) -> None:
    before = stack.everything()
    stack.up(STORE_ACCESS_KEY="changedkey", STORE_SECRET_KEY="changedsecret")
    stack.up()
    assert stack.everything() == before


def test_the_preflight_passes_and_names_what_is_missing(stack: Stack) -> None:
    done = stack.compose("run", "--rm", "preflight")
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["memory"].startswith("8.0 GiB are available"), "the container's limit, not the machine's memory"
    assert found["scratch"].startswith("/work: ")
    stack.compose("stop", "mlflow")
    down = stack.compose("run", "--rm", "--no-deps", "preflight", check=False)
    stack.compose("up", "--detach", "--no-build", "--wait", "mlflow")
    assert down.returncode == 69
    assert "exit 69" in down.stderr


def test_several_workers_make_the_same_dataset(stack: Stack) -> None:
    before = stack.summary("preprocess")
    settings = {"DOGBREED_DATA": "s3://dogbreed/workers", "PREPROCESS_REPLICAS": "3"}
    stack.up(**settings)
    workers = [f"{stack.project}-preprocess-{number}" for number in (1, 2, 3)]
    made = [json.loads(docker("logs", worker).stdout.splitlines()[-1]) for worker in workers]
    assert {summary["digest"] for summary in made if summary["manifest"]} == {before["digest"]}


@pytest.mark.parametrize("server", SERVERS)
def test_a_killed_server_comes_back_with_everything(stack: Stack, server: str) -> None:
    before = stack.everything()
    docker("kill", "--signal", "KILL", stack.container(server))
    stack.up()
    assert stack.everything() == before


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_dies_is_restarted_by_the_engine(stack: Stack, server: str) -> None:
    """`docker kill` counts as stopping by hand, so the process is killed from outside."""
    process = docker("inspect", "--format", "{{.State.Pid}}", stack.container(server)).stdout.strip()
    try:
        os.kill(int(process), signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        pytest.skip("the engine's processes are not this user's")
    health = "{{.State.Pid}} {{.State.Health.Status}}"

    def healthy_again() -> bool:
        pid, status = docker("inspect", "--format", health, stack.container(server)).stdout.split()
        return pid != process and status == "healthy"

    eventually(healthy_again, f"the restart of {server}")


def killed_on_the_way(stack: Stack, victim: str, name: str, **settings: str) -> int:
    """Start everything, send the signal to a container at a random moment of its work, return its exit code."""
    stack.compose("rm", "--force", "--stop", *CHAIN)
    up = stack.start("up", "--detach", "--no-build", **settings)
    eventually(lambda: stack.state(victim) == "running", f"the start of {victim}", seconds=300)  # after a training
    time.sleep(random.Random(f"{victim} {name}").uniform(0.5, 6 if victim in ("train", "evaluate") else 1.5))
    began = time.monotonic()
    docker("kill", "--signal", name, stack.container(victim), check=False)
    code = stack.exit_code(victim)
    assert time.monotonic() - began < 30, "longer than the grace period"
    up.wait()
    return code


@pytest.mark.parametrize("name", ["TERM", "KILL"])
@pytest.mark.parametrize("job", CHAIN)
def test_a_job_that_was_stopped_or_killed_is_finished_by_the_next_up(stack: Stack, job: str, name: str) -> None:
    place = f"s3://dogbreed/{job}-{name.lower()}"
    settings = {"DOGBREED_RAW": place, "DOGBREED_DATA": place, "DOGBREED_TRAIN_NAME": f"{job}-{name}"}
    if job == "fetch":  # long enough to be met
        settings |= {"DOGBREED_FETCH_PER_CLASS": "300", "DOGBREED_PREPROCESS_PER_CLASS": "20"}
    code = killed_on_the_way(stack, job, name, **settings)
    assert code == {"TERM": 143, "KILL": 137}[name], stack.logs(job)
    versions = len(stack.tracking.search_model_versions("name='dogbreed'"))
    finished = len(stack.runs("train"))
    stack.up(**settings)
    trained = stack.summary("train")
    assert len(stack.runs("train")) == finished + (job != "evaluate")
    assert len(stack.tracking.search_model_versions("name='dogbreed'")) == versions + (job != "evaluate")
    assert stack.tracking.get_model_version_by_alias("dogbreed", "candidate").version == str(trained["model_version"])
    assert stack.summary("evaluate")["model"] == f"models:/dogbreed/{trained['model_version']}"
    if job != "fetch":  # it drew other photos
        made, clean = stack.objects(f"{job}-{name.lower()}/"), stack.objects("datasets/") | stack.objects("raw/")
        assert {key.split("/", 1)[1]: tag for key, (tag, _) in made.items()} == {
            key.split("/", 1)[1]: tag for key, (tag, _) in clean.items() if key.split("/")[1].startswith("synthetic")
        }, "other objects than those of a run that nobody killed"


def test_a_training_that_was_killed_five_times_ends_with_the_weights_of_one_that_was_not(stack: Stack) -> None:
    settings = {"DOGBREED_TRAIN_EPOCHS": "30", "DOGBREED_TRAIN_DETERMINISTIC": "true"}
    stack.up(**settings, DOGBREED_TRAIN_NAME="unkilled")
    clean = stack.summary("train")
    settings |= {"DOGBREED_TRAIN_NAME": "killed", "DOGBREED_TRAIN_CHECKPOINT_EVERY": "3"}
    stack.compose("rm", "--force", "--stop", "train", "evaluate")
    for number in range(5):
        up = stack.start("up", "--detach", "--no-build", **settings)
        eventually(lambda number=number: stack.starts("train") > number, f"start {number + 1} of train")
        eventually(lambda: "checkpoint of step" in stack.last_start("train"), "a checkpoint")
        docker("kill", "--signal", "KILL", stack.container("train"))
        assert stack.exit_code("train") == 137
        up.wait()
    stack.up(**settings)
    killed = stack.summary("train")
    assert stack.starts("train") == 6
    assert "resuming after step" in stack.last_start("train")
    same = ("weights_sha256", "optimizer_sha256", "val_top1", "epochs")
    assert {key: killed[key] for key in same} == {key: clean[key] for key in same}
    run = stack.tracking.get_run(killed["run_id"])
    assert len(stack.tracking.get_metric_history(run.info.run_id, "val_top1")) == clean["epochs"]
    runs = [run for run in stack.runs("train") if run.data.tags["dogbreed.job_key"] == "killed"]
    assert len(runs) == 1


def test_a_killed_init_is_finished_by_the_next_up(stack: Stack) -> None:
    before = stack.everything()
    stack.compose("rm", "--force", "--stop", "init", *CHAIN)
    up = stack.start("up", "--detach", "--no-build")
    eventually(lambda: stack.state("init") == "running", "the start of init")
    time.sleep(2)  # in the middle of the database's migration
    docker("kill", "--signal", "KILL", stack.container("init"))
    assert stack.exit_code("init") == 137
    up.wait()
    stack.up()
    assert stack.everything() == before


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_killed_during_a_training_costs_at_most_another_up(stack: Stack, server: str) -> None:
    settings = {"DOGBREED_TRAIN_NAME": f"without-{server}"}
    stack.compose("rm", "--force", "--stop", *CHAIN)
    up = stack.start("up", "--detach", "--no-build", **settings)
    eventually(lambda: stack.state("train") == "running", "the start of train")
    time.sleep(8)
    docker("kill", "--signal", "KILL", stack.container(server))
    up.wait()
    stack.up(**settings)
    assert stack.summary("train")["epochs"] == 8
    runs = [run for run in stack.runs("train") if run.data.tags["dogbreed.job_key"] == f"without-{server}"]
    assert len(runs) == 1


def test_no_secret_is_in_any_log(stack: Stack) -> None:
    containers = docker(
        "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={stack.project}"
    ).stdout
    assert len(containers.split()) >= 9
    for container in containers.split():
        done = docker("logs", container)
        for secret, value in CANARIES.items():
            assert secret == "STORE_ACCESS_KEY" or value not in done.stdout + done.stderr, (container, secret)


def test_a_backup_brings_back_runs_models_and_datasets(stack: Stack, tmp_path: Path) -> None:
    before = stack.everything()
    folder = {"BACKUP_FOLDER": str(tmp_path)}
    running = stack.compose("run", "--rm", "backup", check=False, **folder)
    assert running.returncode == 78, running.stderr
    stack.compose("stop")
    stack.compose("run", "--rm", "backup", **folder)
    assert {path.name for path in tmp_path.iterdir()} == {"objects.tar", "database.tar"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    refused = stack.compose("run", "--rm", "restore", check=False, **folder)
    assert refused.returncode == 65
    assert "is not empty" in refused.stderr
    stack.compose("down", "--volumes")
    stack.compose("run", "--rm", "restore", **folder)
    stack.up()
    assert stack.everything() == before


def test_a_password_can_be_asked_for(stack: Stack) -> None:
    page = f"http://localhost:{stack.mlflow_port}/api/2.0/mlflow/experiments/search?max_results=1"
    assert requests.get(page, timeout=10).status_code == 200
    stack.compose("up", "--detach", "--no-build", "--wait", "mlflow", MLFLOW_BASIC_AUTH="true")
    assert requests.get(page, timeout=10).status_code == 401
    password = CANARIES["MLFLOW_ADMIN_PASSWORD"]
    assert requests.get(page, timeout=10, auth=("admin", password)).status_code == 200
    stack.compose("run", "--rm", "preflight", MLFLOW_BASIC_AUTH="true")
    refused = stack.compose(
        "run", "--rm", "--no-deps", "--env", "MLFLOW_TRACKING_PASSWORD=wrong-password", "preflight", check=False
    )
    assert refused.returncode == 77, refused.stderr
    assert password not in stack.logs("mlflow")
    stack.compose("up", "--detach", "--no-build", "--wait", "mlflow")


def test_the_databases_password_can_be_changed(stack: Stack) -> None:
    before = stack.everything()
    change = "ALTER ROLE mlflow PASSWORD 'changedpassword'"
    stack.compose("exec", "postgres", "psql", "--username", "mlflow", "--command", change)
    stack.up(POSTGRES_PASSWORD="changedpassword")
    assert stack.everything() == before
    back = f"ALTER ROLE mlflow PASSWORD '{CANARIES['POSTGRES_PASSWORD']}'"
    stack.compose(
        "exec", "postgres", "psql", "--username", "mlflow", "--command", back, POSTGRES_PASSWORD="changedpassword"
    )
    stack.up()


def test_the_database_moves_to_a_new_volume_by_a_dump(stack: Stack) -> None:
    before = stack.everything()
    run_sql(stack, "search", "search", "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 7")
    dumps = {
        name: stack.compose("exec", "--no-tty", "postgres", "pg_dump", "--username", "mlflow", name).stdout
        for name in ("mlflow", "search")
    }
    stack.compose("down")
    docker("volume", "rm", f"{stack.project}_database")
    stack.compose("up", "--detach", "--no-build", "--wait", "postgres")
    run_sql(stack, "mlflow", "mlflow", dumps["mlflow"])
    stack.up()
    run_sql(stack, "mlflow", "search", dumps["search"])
    assert stack.everything() == before
    assert run_sql(stack, "search", "search", "SELECT * FROM kept").split() == ["7"], "owned by its role"


def run_sql(stack: Stack, role: str, database: str, text: str) -> str:
    """Run statements in the container of PostgreSQL and return what they print."""
    psql = ["psql", "--quiet", "--tuples-only", "--username", role, database]
    command = [DOCKER, "exec", "--interactive", stack.container("postgres"), *psql]
    return subprocess.run(command, input=text, text=True, capture_output=True, check=True).stdout
