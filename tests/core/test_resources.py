"""What a machine gives: memory limits of both kinds of cgroups, scratch space, GPUs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dogbreed.core import resources
from dogbreed.core.errors import EnvironmentUnsupported, RetryableError, UsageError

SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


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


def test_scratch_is_written_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert "GiB free" in resources.check_scratch(0.001)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RetryableError, match="make room or set TMPDIR"):
        resources.check_scratch(1e9)


def test_scratch_that_cannot_be_written_is_impossible_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")  # even root cannot write there
    with pytest.raises(EnvironmentUnsupported, match="cannot write in /proc"):
        resources.check_scratch(0)


def test_a_tmpdir_that_is_not_there_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(EnvironmentUnsupported, match="/nowhere is no folder; set TMPDIR"):
        resources.check_scratch(0)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(resources.SCRATCH_LIMIT, "1Gi")
    return tmp_path


@given(st.integers(1, 10**18 - 1), st.integers(0, len(SUFFIXES) - 1))
def test_a_limit_is_bytes_or_has_a_binary_suffix(number: int, power: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(resources.SCRATCH_LIMIT, f"{number}{SUFFIXES[power]}")
        assert resources.scratch_limit() == number * 1024**power


@given(st.one_of(st.from_regex(r"-?\d*\.?\d*\s?[kKmMgG]?[iB]?", fullmatch=True), st.text(min_size=1)))
def test_what_kubernetes_does_not_write_so_is_a_usage_error(text: str) -> None:
    if re.fullmatch(r"[1-9][0-9]*([KMGTPE]i)?|", text) or "\0" in text or not text.isprintable():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(resources.SCRATCH_LIMIT, text)
        with pytest.raises(UsageError, match=resources.SCRATCH_LIMIT) as error:
            resources.scratch_limit()
    assert error.value.exit_code == 2


def test_files_in_the_scratch_folder_count_against_its_limit(scratch: Path) -> None:
    assert "free, limit 1Gi" in resources.check_scratch(0.5)
    before = resources.free_scratch()
    assert 0 <= (1 << 30) - before < 1 << 16
    (scratch / "a" / "b").mkdir(parents=True)
    (scratch / "a" / "b" / "half").write_bytes(bytes(3 << 20))
    (scratch / "a" / "same").hardlink_to(scratch / "a" / "b" / "half")
    (scratch / "a" / "link").symlink_to("/usr")
    assert 3 << 20 <= before - resources.free_scratch(scratch / "not" / "there") < 4 << 20


def test_what_would_exceed_the_limit_is_impossible_here_and_says_what_to_raise(scratch: Path) -> None:
    resources.check_free_scratch(900 << 20, "a copy")
    with (scratch / "file").open("wb") as file:
        file.truncate(900 << 20)  # its blocks may be allocated any time
    with pytest.raises(EnvironmentUnsupported, match=r"1Gi; raise the sizeLimit .* DOGBREED_SCRATCH_LIMIT") as error:
        resources.check_free_scratch(100 << 20, "a copy of x")
    assert "a copy of x: 164 MiB of scratch space are needed, 124 MiB are left" in str(error.value)
    with pytest.raises(EnvironmentUnsupported, match="sizeLimit"):
        resources.check_scratch(0.5)


def test_the_limit_is_of_no_folder_elsewhere(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    resources.check_free_scratch(1 << 30, "a copy", elsewhere)
    assert resources.free_scratch(elsewhere) > resources.free_scratch(scratch / "new")


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
