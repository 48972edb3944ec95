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


def test_hidden_gpus_were_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Path, "glob", lambda *_: iter([Path("/dev/nvidia0"), Path("/dev/nvidia1"), Path("/dev/nvidiactl")])
    )
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert resources.container_gpu_count() == 0, "a machine's GPU is given to nobody"
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    assert resources.container_gpu_count() == 2
    for hidden, left in (("", 0), ("-1", 0), ("1", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert resources.container_gpu_count() == left


def test_the_peak_of_memory_is_that_of_this_process_alone() -> None:
    weight = np.ones(300 << 20, np.uint8)  # 300 MiB, which getrusage of a child would count too
    assert resources.peak_memory() > weight.nbytes
    code = "from dogbreed.core import resources; print(resources.peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10 << 20 < int(child.stdout) < weight.nbytes
