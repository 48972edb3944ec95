"""What a machine gives: memory limits of both kinds of cgroups, scratch space, GPUs."""

from pathlib import Path

import psutil
import pytest

from dogbreed.core import resources
from dogbreed.core.errors import EnvironmentUnsupported, RetryableError, UsageError


def test_the_limit_is_what_this_process_may_use() -> None:
    assert 0 < resources.memory_limit() <= psutil.virtual_memory().total


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
    with pytest.raises(RetryableError, match="are needed; make room or set TMPDIR"):
        resources.check_scratch(1e9)


def test_scratch_that_cannot_be_written_is_impossible_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")  # even root cannot write there
    with pytest.raises(EnvironmentUnsupported, match="cannot write in /proc"):
        resources.check_scratch(0)


def test_a_tmpdir_that_is_not_there_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(EnvironmentUnsupported, match="/nowhere is no folder; set TMPDIR"):
        resources.check_scratch(0)


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


INDEXED_JOB = {
    "DOGBREED_WORKERS": "3",
    "DOGBREED_WORKER_JOB": "train-abc",
    "DOGBREED_WORKER_SERVICE": "workers",
    "JOB_COMPLETION_INDEX": "1",
}
TF_CONFIG = '{"cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]}, "task": {"type": "worker", "index": 1}}'


def test_an_indexed_job_and_its_service_name_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in INDEXED_JOB.items():
        monkeypatch.setenv(name, value)
    hosts = ("train-abc-0.workers:2222", "train-abc-1.workers:2222", "train-abc-2.workers:2222")
    assert resources.cluster_from_env() == resources.ClusterSpec(hosts, 1)
    monkeypatch.setenv("TF_CONFIG", TF_CONFIG)  # counts first
    assert resources.cluster_from_env() == resources.ClusterSpec(("a:1", "b:2", "c:3"), 2)


@pytest.mark.parametrize("given", [{}, {"DOGBREED_WORKERS": "1"}, {"JOB_COMPLETION_INDEX": "4"}])
def test_a_process_is_alone_unless_the_environment_names_others(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert len(resources.cluster_from_env().addresses) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DOGBREED_WORKERS", "many", "DOGBREED_WORKERS='many' is no number"),
        ("DOGBREED_WORKER_SERVICE", "", "DOGBREED_WORKER_SERVICE is not set"),
        ("JOB_COMPLETION_INDEX", "3", "give the Job 3 completions"),
        ("TF_CONFIG", "{}", "names no worker"),
        ("TF_CONFIG", "no json", "names no worker"),
        ("TF_CONFIG", TF_CONFIG.replace("a:1", "a"), "a worker is host:port"),
        ("TF_CONFIG", TF_CONFIG.replace('"index": 1', '"index": 2'), "its task is none of its workers"),
        ("TF_CONFIG", TF_CONFIG.replace('"type": "worker"', '"type": "ps"'), "its task is none of its workers"),
    ],
)
def test_an_environment_that_names_no_place_is_refused(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, usual in INDEXED_JOB.items():
        monkeypatch.setenv(other, usual)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        resources.cluster_from_env()
