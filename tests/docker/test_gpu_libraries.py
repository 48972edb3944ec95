"""docker/gpu_libraries.py on trees of stubs: what a GPU image is refused for when it is built."""

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from packaging.requirements import Requirement

from tests.support.compose import ROOT

SPEC = importlib.util.spec_from_file_location("gpu_libraries", ROOT / "docker" / "gpu_libraries.py")
assert SPEC
assert SPEC.loader
gpu_libraries = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(gpu_libraries)
LOCKED = dict(re.findall(r"^(nvidia-\S+)==(\S+)", (ROOT / "docker/requirements-cuda.lock").read_text(), re.MULTILINE))


def write_ptxas(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    (folder / "ptxas").write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {version[:4]}, V{version}'\n")
    (folder / "ptxas").chmod(0o755)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Stubs in the places of the packages nvidia-*."""
    packages = tmp_path / "site-packages"
    (packages / "nvidia/nvjitlink/lib").mkdir(parents=True)
    (packages / "nvidia/nvjitlink/lib/libnvJitLink.so.12").touch()
    write_ptxas(packages / "nvidia/cuda_nvcc/bin", "12.9.86")
    (packages / "nvidia/cuda_nvcc/nvvm/libdevice").mkdir(parents=True)
    (packages / "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc").touch()
    return packages


@pytest.fixture
def toolkit(tmp_path: Path) -> Path:
    """A base with the ptxas and the libdevice of an older CUDA."""
    write_ptxas(tmp_path / "toolkit/bin", "12.3.107")
    (tmp_path / "toolkit/nvvm/libdevice").mkdir(parents=True)
    (tmp_path / "toolkit/nvvm/libdevice/libdevice.10.bc").touch()
    return tmp_path / "toolkit"


def check(packages: Path, *path: Path, toolkits: tuple[Path, ...] = (), cudnn: int = 92800, flags: str = "") -> str:
    library = cast("ctypes.CDLL", SimpleNamespace(cudnnGetVersion=lambda: cudnn))
    environment = {"PATH": os.pathsep.join(map(str, path)), "XLA_FLAGS": flags}
    return str(gpu_libraries.check(packages, environment, toolkits, lambda _: library))


def test_the_packages_of_the_lock_beside_tensorflow_pass(packages: Path) -> None:
    nvcc = packages / "nvidia/cuda_nvcc"
    expected = f"8 libraries, cuDNN 9.28.0, {nvcc}/bin/ptxas 12.9.86, {nvcc}/nvvm/libdevice/libdevice.10.bc"
    assert check(packages) == expected


def test_an_old_ptxas_that_xla_selects_is_refused_though_there_is_a_new_one(packages: Path, toolkit: Path) -> None:
    with pytest.raises(SystemExit, match=rf"{toolkit}/bin/ptxas 12\.3\.107"):
        check(packages, toolkit / "bin")
    with pytest.raises(SystemExit, match=r"12\.3\.107"):
        check(packages, toolkits=(toolkit,))


def test_an_old_ptxas_behind_the_new_one_on_path_does_no_harm(packages: Path, toolkit: Path) -> None:
    found = check(packages, packages / "nvidia/cuda_nvcc/bin", toolkit / "bin", toolkits=(toolkit,))
    assert "cuda_nvcc/bin/ptxas 12.9.86" in found


def test_the_folder_that_xla_flags_name_comes_before_path(packages: Path, toolkit: Path) -> None:
    found = check(packages, toolkit / "bin", flags=f"--xla_gpu_cuda_data_dir={packages}/nvidia/cuda_nvcc")
    assert "cuda_nvcc/bin/ptxas 12.9.86" in found


def test_cudnn_9_3_is_refused(packages: Path) -> None:
    with pytest.raises(SystemExit, match=r"cuDNN 9\.3\.0"):
        check(packages, cudnn=90300)


def test_a_tree_without_libdevice_is_refused(packages: Path) -> None:
    (packages / "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc").unlink()
    with pytest.raises(SystemExit, match="libdevice"):
        check(packages)
    (packages / "nvidia/cuda_nvcc/nvvm/libdevice").rmdir()
    with pytest.raises(SystemExit, match="libdevice"):
        check(packages)


@pytest.mark.parametrize("nvjitlink", [False, True])
def test_a_tree_without_ptxas_is_refused_with_and_without_nvjitlink(packages: Path, nvjitlink: bool) -> None:
    (packages / "nvidia/cuda_nvcc/bin/ptxas").unlink()
    if not nvjitlink:
        (packages / "nvidia/nvjitlink/lib/libnvJitLink.so.12").unlink()
    with pytest.raises(SystemExit, match="no PTX compiler"):
        check(packages)


@pytest.mark.parametrize("library", gpu_libraries.LIBRARIES)
def test_a_library_that_cannot_be_opened_is_refused(packages: Path, library: str) -> None:
    def open_library(name: str) -> SimpleNamespace:
        if name == library:
            raise OSError(f"{name}: cannot open shared object file")
        return SimpleNamespace(cudnnGetVersion=lambda: 92800)

    with pytest.raises(SystemExit, match=f"{library}: cannot open"):
        gpu_libraries.check(packages, {"PATH": ""}, (), open_library)


def test_xla_selects_the_same_ptxas(tmp_path: Path) -> None:
    """One that cannot be run, one that is too old, the one that XLA refuses as faulty, and one that it takes."""
    path = [tmp_path / name for name in ("broken", "old", "faulty", "taken", "later")]
    path[0].mkdir()
    (path[0] / "ptxas").write_text("no program")
    for folder, version in zip(path[1:], ("11.7.99", "12.3.103", "12.3.107", "12.9.86"), strict=True):
        write_ptxas(folder, version)
    environment = {**os.environ, "PATH": os.pathsep.join(map(str, path)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    script = ROOT / "tests/support/ptxas_of_xla.py"
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    expected = str(path[3] / "ptxas")
    assert json.loads(done.stdout) == {"ptxas": expected, "compiles_without_ptxas": False}
    with pytest.raises(SystemExit, match=expected):  # as too old, hence selected
        gpu_libraries.select_ptxas(path)


def test_the_lock_has_the_packages_of_tensorflows_extra_for_gpus() -> None:
    required = [Requirement(text) for text in importlib.metadata.requires("tensorflow") or ()]
    extra = {r.name: r.specifier for r in required if r.marker and r.marker.evaluate({"extra": "and-cuda"})}
    assert LOCKED.keys() == {name for name in extra if name.startswith("nvidia-")}
    assert all(version in extra[name] for name, version in LOCKED.items())
    for name, floor in (
        ("nvidia-cuda-nvcc-cu12", gpu_libraries.MIN_PTXAS),
        ("nvidia-cudnn-cu12", gpu_libraries.MIN_CUDNN),
    ):
        assert tuple(map(int, LOCKED[name].split("."))) >= floor


def test_the_manual_has_the_minimum_versions() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    assert f"| CUDA's ptxas | {gpu_libraries.dotted(gpu_libraries.MIN_PTXAS)} (CUDA 12.6.3) |" in text
    assert f"| cuDNN | {gpu_libraries.dotted(gpu_libraries.MIN_CUDNN)} |" in text
