"""Every command of docs/kubernetes.md, and of other pages on clusters: rendered, run, or checked."""

import re
import shlex
import subprocess
import sys
from functools import cache

import pytest

from tests.support.kubernetes.job_options import module, options
from tests.support.kubernetes.manifests import (
    JOBS,
    KUBECTL,
    OVERLAYS,
    ROOT,
    Manifests,
    Object,
    containers,
    of_kind,
    one,
    pod,
)
from tests.support.kubernetes.submit import rendered

TEXT = (ROOT / "docs" / "kubernetes.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text().split("\n## Kubernetes\n")[1].split("\n## ")[0]
README = (ROOT / "README.md").read_text().split("## On Kubernetes")[1].split("\n## ")[0]
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", TEXT + README + OPERATIONS, re.DOTALL)]
SEARCH = re.findall(r"^make .+$", (ROOT / "docs" / "search.md").read_text(), re.MULTILINE)
COMMANDS = sorted({re.sub(r" {2,}#.*", "", command) for block in [*BLOCKS, SEARCH] for command in block})
FOLDER_VERBS = ("apply", "create", "delete")
ON_NODES = {  # a node that is lost; Kubernetes documents the taint by this name
    "kubectl taint node NAME node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    "kubectl delete node NAME",
}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def of(*start: str) -> list[str]:
    return [command for command in COMMANDS if command.split()[: len(start)] == list(start)]


def settings(command: str) -> dict[str, str]:
    """Return NAME=value of a make command."""
    return dict(word.split("=", 1) for word in shlex.split(command) if "=" in word and not word.startswith("-"))


@cache
def flags(*verb: str) -> str:
    """Return what kubectl says of a verb's options, and of those of all verbs."""
    shown = [
        subprocess.run([KUBECTL, *words], capture_output=True, text=True) for words in ([*verb, "-h"], ["options"])
    ]
    return "".join(done.stdout for done in shown)


def names(objects: list[Object]) -> set[str]:
    return {f"{found['kind'].lower()}/{found['metadata']['name']}" for found in objects}


def test_the_first_ten_commands_end_with_a_registered_model() -> None:
    assert len(BLOCKS[0]) == 10
    assert BLOCKS[0][-2] == "make wait JOB=train"


def test_every_command_is_of_a_kind_that_is_tested_below() -> None:
    kinds = ("make", "kubectl", "kind load docker-image", "python -m bench.sizing", "aws --endpoint-url")
    kinds += ("GPU_BASE_IMAGE=", "for name in ")
    assert [command for command in COMMANDS if not command.startswith(kinds)] == []
    known = {*of("kubectl", "--namespace"), *(c for verb in FOLDER_VERBS for c in of("kubectl", verb, "-k")), *ON_NODES}
    assert set(of("kubectl")) == known


@pytest.mark.parametrize("command", of("make"))
def test_make_has_these_targets(command: str) -> None:
    targets = [word for word in shlex.split(command)[1:] if "=" not in word]
    assert set(targets) <= TARGETS
    assert settings(command).keys() <= {"JOB", "ARGS", "AFTER", "WORKERS", "OVERLAY", "DRY_RUN"}


@pytest.mark.parametrize("command", of("make", "submit"))
def test_a_submission_renders_with_options_that_the_job_has(command: str) -> None:
    given = settings(command)
    found = rendered(**{name: value for name, value in given.items() if name not in ("AFTER", "DRY_RUN")})
    arguments = pod(found)["spec"]["containers"][0]["args"][1:]
    assert {word for word in arguments if word.startswith("--")} <= set(options(module(given["JOB"])).values())
    assert given.get("AFTER", "fetch") in JOBS


@pytest.mark.parametrize("command", of("make", "wait") + of("make", "logs"))
def test_jobs_that_are_looked_at_exist(command: str) -> None:
    assert settings(command)["JOB"] in {*JOBS, "restore", "backup-now"}


@pytest.mark.parametrize("command", [c for verb in FOLDER_VERBS for c in of("kubectl", verb, "-k")])
def test_a_folder_that_is_applied_created_or_deleted_renders(manifests: Manifests, command: str) -> None:
    _, _, option, folder = command.split()
    assert option == "-k"
    assert manifests.render(manifests.folder / folder)


@pytest.mark.parametrize("command", of("kubectl", "--namespace"))
def test_a_kubectl_command_has_real_options_and_names_what_is_there(manifests: Manifests, command: str) -> None:
    _, _, namespace, verb, *words = shlex.split(command)
    assert namespace == "dogbreed"
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        known = flags(verb, words[0]) if verb == "create" else flags(verb)
        assert re.search(rf"{option}\b", known), f"kubectl {verb} has no {option}"
    there = names(manifests.overlays["local"]) | names(list(manifests.component_jobs[()].values()))
    there |= names(manifests.once["restore"]) | {"job/backup-now"}
    assert {word for word in words if "/" in word and "=" not in word} <= there
    for label in words[words.index("--selector") + 1 :][:1] if "--selector" in words else []:
        key, value = label.split("=")
        assert all(job["metadata"]["labels"][key] == value for job in manifests.component_jobs[()].values())
    if verb == "port-forward":
        [service] = [
            s for s in of_kind(manifests.overlays["local"], "Service") if words[0].endswith(s["metadata"]["name"])
        ]
        assert int(words[1]) in [entry["port"] for entry in service["spec"]["ports"]]


@pytest.mark.parametrize("command", of("aws"))
def test_images_and_predictions_are_copied_where_predict_looks_for_them(manifests: Manifests, command: str) -> None:
    settings = one(manifests.overlays["local"], "ConfigMap", "settings")["data"]
    [place] = [word for word in command.split() if word.startswith("s3://")]
    assert place in (settings["DOGBREED_PREDICT_IMAGES"], settings["DOGBREED_PREDICT_OUT"])
    [forward] = [c for c in of("kubectl", "--namespace") if "port-forward service/object-store" in c]
    assert f"http://localhost:{forward.split()[-1]} " in command


@pytest.mark.parametrize("command", of("kind"))
def test_the_images_that_are_loaded_are_those_of_the_pods_that_no_registry_has(
    manifests: Manifests, command: str
) -> None:
    owners = of_kind(manifests.overlays["local"], "Deployment") + list(manifests.overlay_jobs["local"].values())
    used = {container["image"] for owner in owners for container in containers(owner)}
    assert set(command.split()[3:]) == {image for image in used if image.startswith("dogbreed/")}


@pytest.mark.parametrize("command", of("for"))
def test_the_images_that_are_pushed_are_those_that_the_overlays_have_from_the_registry(
    manifests: Manifests, command: str
) -> None:
    owners = of_kind(manifests.overlays["cluster"], "Deployment") + list(manifests.overlay_jobs["cluster"].values())
    used = {container["image"] for owner in owners for container in containers(owner)}
    [pushed] = [word.rstrip(";") for word in command.split() if word.startswith("registry.example.com/")]
    names = command.split(" in ")[1].split(";")[0].split()
    assert {pushed.replace("$name", name) for name in names} == {image for image in used if "dogbreed/" in image}


@pytest.mark.parametrize("command", of("python"))
def test_a_benchmark_starts(command: str) -> None:
    words = [sys.executable, *command.split()[1:], "--help"]
    assert subprocess.run(words, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_the_table_of_jobs_is_what_the_manifests_say(manifests: Manifests) -> None:
    periods = {"10 minutes": 600, "4 hours": 14400, "12 hours": 43200, "a week": 604800}
    rows = re.findall(r"^\| ([a-z-]+) \| (\d).* \| (\d) cores?, (\d) GiB \| (.+) \|$", TEXT, re.MULTILINE)
    told = {job: (int(pods), cpu, f"{memory}Gi", periods[most]) for job, pods, cpu, memory, most in rows}
    specs = {job: rendered["spec"] for job, rendered in manifests.component_jobs[()].items()}
    asked = {job: spec["template"]["spec"]["containers"][0]["resources"]["requests"] for job, spec in specs.items()}
    assert told == {
        job: (spec.get("completions", 1), asked[job]["cpu"], asked[job]["memory"], spec["activeDeadlineSeconds"])
        for job, spec in specs.items()
    }


def test_the_table_of_overlays_is_complete() -> None:
    table = TEXT.split("| overlay | content |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `([a-z]+)` \| ", table, re.MULTILINE)) == OVERLAYS
