"""What a machine gives: memory limits of both kinds of cgroups, GPUs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from dogbreed.core import resources


def test_the_limit_is_what_this_process_may_use() -> None:
    assert 0 < resources.memory_limit() <= psutil.virtual_memory().total


def test_a_limit_of_address_space_counts_without_what_is_only_reserved() -> None:
    code = (
        "import resource; from dogbreed.core import resources; resource.setrlimit(resource.RLIMIT_AS, (1 << 31, -1));"
        "print(resources.memory_limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 << 30 < int(done.stdout) < 1 << 31


def test_limits_are_looked_for_in_every_group_around_a_process(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text("9:memory:/a/b\n8:cpu,cpuacct:/a\n0::/c/d\n")
    files = resources._limit_files(groups, Path("/mount"))
    assert {str(path) for path in files} == {
        "/mount/memory.max",  # a container's own group
        "/mount/c/d/memory.max",
        "/mount/c/memory.max",
        "/mount/memory/memory.limit_in_bytes",
        "/mount/memory/a/b/memory.limit_in_bytes",
        "/mount/memory/a/memory.limit_in_bytes",
    }


def test_a_machine_without_cgroups_has_the_containers_places_only(tmp_path: Path) -> None:
    assert len(resources._limit_files(tmp_path / "nothing", tmp_path)) == 2


PAIR = ("dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "dev/nvidia-uvm")
DOCKER, PODMAN, KUBERNETES = ".dockerenv", "run/.containerenv", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
MIG_SETUP = ("dev/nvidia-caps/nvidia-cap1", "dev/nvidia-caps/nvidia-cap2")  # also where no GPU is divided
MIG = (*MIG_SETUP, "dev/nvidia-caps/nvidia-cap21", "dev/nvidia-caps/nvidia-cap22")


@pytest.mark.parametrize(
    ("files", "environment", "count", "required"),
    [
        pytest.param((), {}, 0, 0, id="host without a GPU"),
        pytest.param(PAIR, {}, 2, 0, id="bare host"),
        pytest.param((*PAIR, *MIG_SETUP), {}, 2, 0, id="bare host, MIG off"),
        pytest.param((DOCKER,), {}, 0, 0, id="container without a GPU"),
        pytest.param((DOCKER, *PAIR), {"NVIDIA_VISIBLE_DEVICES": "all"}, 2, 2, id="Docker, NVIDIA runtime"),
        pytest.param((DOCKER, *PAIR), {"NVIDIA_VISIBLE_DEVICES": "void"}, 2, 2, id="Docker, CDI"),
        pytest.param((PODMAN, *PAIR), {}, 2, 2, id="Podman, CDI"),
        pytest.param(("dev/nvidia3",), KUBERNETES, 1, 1, id="Kubernetes"),
        pytest.param((DOCKER, *PAIR), {"NVIDIA_VISIBLE_DEVICES": "none"}, 0, 0, id="driver without GPUs"),
        pytest.param((DOCKER, *PAIR), {"CUDA_VISIBLE_DEVICES": ""}, 0, 0, id="hidden by an empty list"),
        pytest.param((DOCKER, *PAIR), {"CUDA_VISIBLE_DEVICES": "-1"}, 0, 0, id="hidden by -1"),
        pytest.param((DOCKER, *PAIR), {"CUDA_VISIBLE_DEVICES": "1"}, 1, 1, id="one chosen"),
        pytest.param((DOCKER, *PAIR), {"CUDA_VISIBLE_DEVICES": "0,-1,1"}, 1, 1, id="those before an invalid one"),
        pytest.param((DOCKER, "dev/nvidia0", *MIG), {}, 1, 1, id="MIG device"),
        pytest.param((DOCKER, *PAIR, *MIG), {}, 1, 1, id="MIG devices of two GPUs"),
        pytest.param((DOCKER, *PAIR, *MIG), {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}, 1, 1, id="MIG devices chosen"),
        pytest.param(
            (DOCKER, *PAIR, *MIG), {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, 2, 2, id="whole GPUs beside MIG chosen"
        ),
        pytest.param(("dev/dxg",), {}, 1, 0, id="WSL 2"),
        pytest.param((DOCKER, "dev/dxg"), {}, 1, 1, id="WSL 2, container"),
    ],
)
def test_gpus_are_counted_everywhere_and_required_in_containers(
    files: tuple[str, ...],
    environment: dict[str, str],
    count: int,
    required: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert (resources.gpu_count(tmp_path), resources.required_gpu_count(tmp_path)) == (count, required)


def test_the_peak_of_memory_is_that_of_this_process_alone() -> None:
    weight = np.ones(300 << 20, np.uint8)  # 300 MiB, which getrusage of a child would count too
    assert resources.peak_memory() > weight.nbytes
    code = "from dogbreed.core import resources; print(resources.peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10 << 20 < int(child.stdout) < weight.nbytes
