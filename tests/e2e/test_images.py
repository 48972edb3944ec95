"""The images from inside."""

import contextlib
import json
import re
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.e2e.stack import ROOT, VERSION, docker

pytestmark = pytest.mark.e2e

JOB_IMAGES = ("preprocess", "train", "train-gpu")
IMAGES = (*JOB_IMAGES, "mlflow")
TRAIN_JOBS = ("train", "evaluate", "preflight")
JOBS = {"preprocess": ("fetch", "preprocess"), "train": TRAIN_JOBS, "train-gpu": TRAIN_JOBS}
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--volume", "/work", "--cap-drop", "ALL", "--network", "none")


def name(image: str) -> str:
    """Return the image's full name; skip the test where there is no image for GPUs."""
    found = f"dogbreed/{image}:{VERSION}"
    if image == "train-gpu" and docker("image", "inspect", found, check=False).returncode:
        pytest.skip(f"no image {found}; GPU_BASE_IMAGE=python:3.11-slim-bookworm make e2e builds it too")
    return found


def python(image: str, code: str, *options: str) -> str:
    """Run Python code inside, as the hardened container that compose makes."""
    return docker("run", "--rm", *HARDENED, *options, "--entrypoint", "python", name(image), "-c", code).stdout.strip()


@pytest.mark.parametrize("user", ["10001:0", "123456:0"])
@pytest.mark.parametrize("image", IMAGES)
def test_nobody_is_root_and_owns_nothing_but_scratch(image: str, user: str) -> None:
    """Not read-only here, so that what a user could write is what the layers let it write."""
    code = """
import json, os
places = set()
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in ("/proc", "/sys", "/dev")]
    places |= {path for path in [folder, *(os.path.join(folder, f) for f in files)]
               if os.access(path, os.W_OK) and not os.path.islink(path)}
print(json.dumps([os.getuid(), os.getgid(), sorted(places)]))
"""
    done = docker("run", "--rm", "--user", user, "--entrypoint", "python", name(image), "-c", code)
    uid, gid, places = json.loads(done.stdout)
    assert f"{uid}:{gid}" == user
    scratch = ("/tmp", "/work", "/data", "/var/tmp", "/run/lock", "/var/lock")
    assert [place for place in places if not place.startswith(scratch)] == []
    assert "/tmp" in places


@pytest.mark.parametrize("image", IMAGES)
def test_the_default_user_is_not_root_and_the_root_is_read_only(image: str) -> None:
    code = """
import os
for folder in ("/", "/app", "/opt", "/etc", "/var/tmp", "/tmp"):
    try:
        with open(os.path.join(folder, "probe"), "w"):
            print(os.getuid(), folder)
    except OSError:
        pass
"""
    assert python(image, code) == "10001 /tmp"


@pytest.mark.parametrize("image", JOB_IMAGES)
def test_any_uid_of_group_0_can_work(image: str) -> None:
    code = """
import getpass, os, tempfile
import mlflow, tensorflow
with tempfile.NamedTemporaryFile() as file:
    print(os.getuid(), getpass.getuser(), os.path.dirname(file.name))
"""
    assert python(image, code, "--user", "123456:0").splitlines()[-1] == "123456 dogbreed /work"


@pytest.mark.parametrize("image", IMAGES)
def test_versions_are_those_of_the_lock(image: str) -> None:
    code = """
import importlib.metadata, json, sys
print(json.dumps([sys.version_info[:2], {d.name.lower().replace("_", "-"): d.version
                  for d in reversed(list(importlib.metadata.distributions()))}]))
"""
    version, installed = json.loads(python(image, code))
    assert version == [3, 11]
    locks = {"mlflow": ["mlflow"], "train-gpu": ["jobs", "cuda"]}.get(image, ["jobs"])
    lock = "".join((ROOT / f"docker/requirements-{part}.lock").read_text() for part in locks)
    pinned = re.findall(r"^([a-z0-9.-]+)==(\S+?)(?: ; (.*?))? \\$", lock, re.MULTILINE)
    assert len(pinned) > 50
    for package, wanted, marker in pinned:
        if not marker:
            assert installed[package.replace(".", "-")] == wanted, package
    if image in JOB_IMAGES:
        assert "flask" not in installed, "the server belongs to the mlflow image"


@pytest.mark.parametrize(("image", "job"), [(image, job) for image, jobs in JOBS.items() for job in jobs])
def test_help_comes_without_tensorflow(image: str, job: str) -> None:
    code = f"""
import sys, runpy
sys.argv = ["{job}", "--help"]
try:
    runpy.run_module("jobs.{job}", run_name="__main__")
finally:
    assert "tensorflow" not in sys.modules and "mlflow" not in sys.modules
"""
    assert "Usage: " in python(image, code)


@pytest.mark.parametrize("image", JOB_IMAGES)
def test_the_image_shows_its_help_when_it_is_simply_run(image: str) -> None:
    assert f"jobs.{image.removesuffix('-gpu')}" in docker("run", "--rm", name(image)).stdout


@pytest.mark.parametrize("image", IMAGES)
def test_entrypoints_are_exec_form_and_labels_tell_what_this_is(image: str) -> None:
    config = json.loads(docker("image", "inspect", name(image)).stdout)[0]["Config"]
    assert config["Entrypoint"][0] != "/bin/sh"
    assert config["User"] == "10001:0"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] == f"dogbreed {image.removesuffix('-gpu')}"
    assert (labels["version"], labels["licenses"]) == (VERSION, "Apache-2.0")
    assert re.fullmatch(r"[0-9a-f]{40}", labels["revision"])


@pytest.mark.parametrize("image", ["train", "train-gpu", "mlflow"])  # preprocess has the layers of train
def test_the_secrets_of_the_build_are_in_no_layer(image: str, tmp_path: Path) -> None:
    assert "canary-of-the-build" not in docker("history", "--no-trunc", name(image)).stdout
    archive = tmp_path / "image.tar"
    docker("save", "--output", str(archive), name(image))
    layers = 0
    with tarfile.open(archive) as parts:
        for member in filter(tarfile.TarInfo.isfile, parts):
            part = parts.extractfile(member)
            assert part is not None
            assert not any(b"canary-of-the-build" in block for block in iter(lambda part=part: part.read(1 << 24), b""))
            part.seek(0)
            with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=part) as layer:  # the rest is JSON
                layers += 1
                assert not {"etc/pip.conf", "run/secrets/ca.crt"} & {file.name for file in layer if file.size}
    assert layers > 3


@pytest.mark.parametrize("image", IMAGES)
def test_only_the_allow_list_is_in_an_image(image: str) -> None:
    code = "import os; print(sorted(os.listdir('/app')))"
    expected = ["mlflow_server.sh", "stack_init.py", "volumes.sh"] if image == "mlflow" else ["dogbreed", "jobs"]
    assert python(image, code) == str(expected)


@pytest.mark.parametrize("image", IMAGES)
def test_any_user_may_read_the_programs(image: str) -> None:
    options = ("--user", "12345:12345", "--entrypoint", "sh", name(image), "-c")
    assert docker("run", "--rm", *options, "cd / && find /app ! -readable -o -type d ! -executable").stdout == ""


@pytest.mark.parametrize("image", JOB_IMAGES)
def test_caches_that_grow_are_on_the_scratch_volume(image: str) -> None:
    code = "import os; print(os.environ['KERAS_HOME'], os.environ['CUDA_CACHE_PATH'], os.environ['TMPDIR'])"
    assert all(folder.startswith("/work") for folder in python(image, code).split())


@pytest.mark.parametrize("delay", [0.3, 0.6, 1.0, 2.0, 4.0])
def test_sigterm_to_process_1_ends_with_143_at_any_moment_of_its_start(delay: float) -> None:
    options = ("--source", "synthetic", "--per-class", "3000", "--raw", "/work/raw")
    container = docker("run", "--detach", *HARDENED, name("preprocess"), "jobs.fetch", *options).stdout.strip()
    try:
        time.sleep(delay)
        docker("stop", "--time", "20", container)
        state = json.loads(docker("inspect", container).stdout)[0]["State"]
        assert state["ExitCode"] == 143, docker("logs", container).stderr
    finally:
        docker("rm", "--force", "--volumes", container)


def test_xla_compiles_by_the_ptxas_of_the_lock() -> None:
    found = json.loads(python("train-gpu", (ROOT / "tests/support/ptxas_of_xla.py").read_text()))
    assert found["ptxas"] == "/opt/dogbreed/bin/ptxas"
    printed = docker("run", "--rm", "--entrypoint", "ptxas", name("train-gpu"), "--version").stdout
    [locked] = re.findall(r"^nvidia-cuda-nvcc-cu12==(\S+)", (ROOT / "docker/requirements-cuda.lock").read_text(), re.M)
    assert f"V{locked}" in printed


def test_a_gpu_that_is_visible_is_seen_by_tensorflow() -> None:
    image = name("train-gpu")
    code = "from dogbreed.workflows.gpu_checks import check_gpus; print(check_gpus(1))"
    done = docker("run", "--rm", "--gpus", "all", "--entrypoint", "python", image, "-c", code, check=False)
    if "could not select device driver" in done.stderr:
        pytest.skip("the engine has no GPU to give")
    assert done.stdout.startswith("TensorFlow sees "), done.stderr
