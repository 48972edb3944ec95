"""The compose files without an engine: what they promise to people and to the other files."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.compose import COMPOSE, ROOT, config, services

JOBS = ("fetch", "preprocess", "train", "evaluate", "preflight", "search")
SERVERS = ("object-store", "postgres", "mlflow")
# what compose does not hand on: a fixed share of the work, because replicas have no index
NOT_HERE = {"DOGBREED_PREPROCESS_WORKERS", "JOB_COMPLETION_INDEX"}


@pytest.mark.parametrize("job", JOBS)
def test_every_option_of_a_job_can_be_set_in_the_env_file(job: str) -> None:
    environment = services()[job]["environment"]
    for option in importlib.import_module(f"jobs.{job}").main.params:
        variable = option.envvar or f"DOGBREED_{job}_{option.name}".upper()
        assert variable in NOT_HERE or variable in environment, f"{variable} is not in docker-compose.yml"
    known = {
        f"DOGBREED_{job}_{o.opts[0][2:].replace('-', '_')}".upper()
        for o in importlib.import_module(f"jobs.{job}").main.params
    }
    assert {name for name in environment if name.startswith("DOGBREED_")} <= known


def test_the_env_example_names_every_variable_with_its_default() -> None:
    text = "".join(
        (ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.s3.yml")
    )
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}$]*)\}", text))
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}$]*)\}", text):
        assert defaults[name] == default, f"{name} has two defaults"
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert shown == defaults


def test_only_the_ui_and_the_store_are_published_and_only_on_this_machine() -> None:
    published = {
        (name, port["host_ip"], port["published"]) for name, s in services().items() for port in s.get("ports", [])
    }
    assert published == {("mlflow", "127.0.0.1", "5000"), ("object-store", "127.0.0.1", "9000")}


def test_jobs_are_not_restarted_and_servers_are() -> None:
    policies = {name: service["restart"] for name, service in services().items()}
    assert {policies[name] for name in SERVERS} == {"unless-stopped"}
    assert {policies[name] for name in policies if name not in SERVERS} == {"no"}


def test_every_service_is_bounded() -> None:
    for name, service in services().items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        if name != "volume-owner":
            assert set(service["deploy"]["resources"]["limits"]) == {"memory", "pids"}, name
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "postgres":  # the official image starts as root to give the volume to its user
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
        assert ("cap_add" in service) == (name in ("backup", "restore")), name


def test_servers_have_health_checks_and_jobs_wait_for_one_another() -> None:
    found = services()
    assert all("healthcheck" in found[name] for name in SERVERS)
    for job, before in zip(JOBS[1:4], JOBS, strict=False):
        assert found[job]["depends_on"][before]["condition"] == "service_completed_successfully"


def test_the_jobs_meet_at_the_same_prefixes() -> None:
    found = services(DOGBREED_SOURCE="stanford-dogs", DOGBREED_PREPROCESS_SIZE="128")
    raw = found["fetch"]["environment"]["DOGBREED_FETCH_RAW"]
    data = found["preprocess"]["environment"]["DOGBREED_PREPROCESS_OUT"]
    assert (raw, data) == ("s3://dogbreed/raw/stanford-dogs", "s3://dogbreed/datasets/stanford-dogs-128")
    assert found["preprocess"]["environment"]["DOGBREED_PREPROCESS_RAW"] == raw
    assert found["train"]["environment"]["DOGBREED_TRAIN_DATA"] == data
    assert found["evaluate"]["environment"]["DOGBREED_EVALUATE_DATA"] == data


def test_one_setting_starts_several_workers() -> None:
    assert services(PREPROCESS_REPLICAS="3")["preprocess"]["deploy"]["replicas"] == 3
    assert services(SEARCH_REPLICAS="3")["search"]["deploy"]["replicas"] == 3


def test_the_gpu_file_gives_the_gpus_and_their_base_to_the_jobs_that_use_them() -> None:
    found = config("docker-compose.yml", "docker-compose.gpu.yml", GPUS="2")["services"]
    for name, service in found.items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        if name in ("train", "evaluate", "preflight", "search"):
            assert [(d["driver"], d["count"], d["capabilities"]) for d in devices] == [("nvidia", 2, ["gpu"])]
            assert service["build"]["args"]["BASE_IMAGE"] == "tensorflow/tensorflow:2.21.0-gpu"
            assert service["build"]["args"]["DEVICE"] == "gpu"
            assert int(service["shm_size"]) == 1 << 30
            assert service["ulimits"] == {"memlock": -1}
            assert service["deploy"]["resources"]["limits"]["pids"] == 4096
            assert service["stop_grace_period"] == ("2m0s" if name in ("train", "search") else "30s")
        else:
            assert not devices


@pytest.mark.parametrize(
    ("chosen", "received"),
    [({}, None), ({"CUDA_VISIBLE_DEVICES": ""}, ""), ({"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}, "GPU-1,GPU-2")],
)
def test_the_gpu_file_hands_on_which_gpus_are_used(chosen: dict[str, str], received: str | None) -> None:
    found = config("docker-compose.yml", "docker-compose.gpu.yml", **chosen)["services"]
    for name in ("train", "evaluate", "preflight", "search"):
        assert found[name]["environment"].get("CUDA_VISIBLE_DEVICES") == received


def test_the_s3_file_takes_the_own_store_away() -> None:
    found = config("docker-compose.yml", "docker-compose.s3.yml", STORE_ENDPOINT="https://s3.example.com")["services"]
    assert "object-store" not in found
    assert set(found["init"]["depends_on"]) == {"postgres"}
    assert found["train"]["environment"]["AWS_ENDPOINT_URL_S3"] == "https://s3.example.com"


def test_our_images_are_never_looked_for_in_a_registry() -> None:
    for name, service in services().items():
        assert (service.get("pull_policy") == "never") == service["image"].startswith("dogbreed/"), name


DOCS = "".join((ROOT / name).read_text() for name in ("README.md", "docs/operations.md", "docs/search.md"))
COMMANDS = sorted(set(re.findall(r"^(?:[A-Z_]+=\S+ )*docker compose (.+?)(?: {2,}#.*)?$", DOCS, re.MULTILINE)))


def test_the_docs_name_commands() -> None:
    assert len(COMMANDS) > 12


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_has_only_real_options_and_services(command: str) -> None:
    subcommand, *words = shlex.split(command.split("<")[0].split(">")[0].split("&&")[0])
    shown = subprocess.run([str(COMPOSE), subcommand, "--help"], capture_output=True, text=True, check=True).stdout
    service = next((index for index, word in enumerate(words) if word in services()), len(words))
    for option in words[:service]:
        if option.startswith("--"):
            assert re.search(rf"{option}\b", shown), f"docker compose {subcommand} has no {option}"
    if subcommand in ("run", "exec", "pull"):
        assert service < len(words), f"{command} names no service"
    if subcommand == "run" and words[service] in JOBS:
        known = {name for o in importlib.import_module(f"jobs.{words[service]}").main.params for name in o.opts}
        assert {word for word in words[service + 1 :] if word.startswith("--")} <= known


def test_an_empty_variable_is_the_same_as_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.fetch", "--source", "synthetic", "--raw", str(tmp_path), "--per-class", "5"],
        cwd=ROOT,
        env={
            **os.environ,
            "DOGBREED_FETCH_CLASSES": "",
            "DOGBREED_FETCH_FROM": "",
            "DOGBREED_FETCH_ALLOW_OTHER_CHECKSUMS": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
