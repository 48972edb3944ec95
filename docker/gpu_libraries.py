"""Build-time check of jobs.Dockerfile: the CUDA packages beside TensorFlow, and the PTX compiler that XLA selects."""

import ctypes
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

# what TensorFlow 2.21 opens by name, less libcuda.so.1, which the host's driver brings
LIBRARIES = (
    "libcudart.so.12",
    "libcublas.so.12",
    "libcublasLt.so.12",
    "libcufft.so.11",
    "libcusolver.so.11",
    "libcusparse.so.12",
    "libcudnn.so.9",
    "libnccl.so.2",
)
# CUDA before 12.6.3 miscompiles clamping for GPUs of compute capability 9.0 and newer: openxla/xla#19927
MIN_PTXAS = (12, 6, 85)
# XLA finds no convolution in 9.3 and 9.5: aws/deep-learning-containers#6417, calad0i/HGQ2#14
MIN_CUDNN = (9, 24)
# where XLA looks for CUDA before it looks beside TensorFlow
TOOLKITS = (Path("/usr/local/cuda"), Path("/opt/cuda"))
ADVICE = "install docker/requirements-cuda.lock beside TensorFlow, as docker/jobs.Dockerfile does"

Version = tuple[int, ...]


def open_libraries(open_library: Callable[[str], ctypes.CDLL]) -> dict[str, ctypes.CDLL]:
    """Return TensorFlow's GPU libraries, opened by their names."""
    opened = {}
    for name in LIBRARIES:
        try:
            opened[name] = open_library(name)
        except OSError as error:
            sys.exit(f"TensorFlow cannot open a library that it needs for GPUs: {error}; {ADVICE}")
    return opened


def check_cudnn(cudnn: ctypes.CDLL) -> Version:
    """Return cuDNN's version; exit with an error when XLA finds no convolutions in it."""
    number = cudnn.cudnnGetVersion()  # 92800 is 9.28.0
    version = (number // 10000, number // 100 % 100, number % 100)
    if version < MIN_CUDNN:
        sys.exit(
            f"cuDNN {dotted(version)} is older than {dotted(MIN_CUDNN)}: XLA finds no convolutions in it; {ADVICE}"
        )
    return version


def read_ptxas_version(ptxas: Path) -> Version | None:
    """Return the version that `ptxas` prints, None if it cannot be run."""
    try:
        printed = subprocess.run([ptxas, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\bV(\d+)\.(\d+)\.(\d+)\b", printed)
    return tuple(map(int, found.groups())) if found else None


def select_ptxas(folders: Iterable[Path]) -> str:
    """Return the ptxas that XLA selects with its version: the first one in `folders` that XLA does not refuse."""
    searched = []
    for folder in folders:
        version = read_ptxas_version(folder / "ptxas")
        if version and version >= (11, 8) and version != (12, 3, 103):
            break
        searched.append(str(folder))
    else:  # XLA can also compile with nvJitLink and libnvptxcompiler, but that of TensorFlow 2.21 is built without them
        sys.exit(f"XLA would find no PTX compiler: no ptxas that it can use in {', '.join(searched)}; {ADVICE}")
    if version < MIN_PTXAS:
        sys.exit(
            f"XLA would select {folder}/ptxas {dotted(version)}: before {dotted(MIN_PTXAS)} it miscompiles clamping; "
            "put the ptxas of nvidia-cuda-nvcc-cu12 first on PATH"
        )
    return f"{folder}/ptxas {dotted(version)}"


def find_libdevice(roots: Iterable[Path]) -> Path:
    """Return libdevice, the code of CUDA's mathematical functions: XLA takes the first folder of that name."""
    folders = [root / "nvvm/libdevice" for root in roots]
    folder = next(filter(Path.is_dir, folders), None)
    if folder is None or not (folder / "libdevice.10.bc").is_file():
        searched = ", ".join(map(str, [folder] if folder else folders))
        sys.exit(f"XLA would find no libdevice.10.bc in {searched}; {ADVICE}")
    return folder / "libdevice.10.bc"


def check_xla(packages: Path, environment: Mapping[str, str], toolkits: Iterable[Path]) -> str:
    """Return what XLA finds to compile with; exit with an error when it does not fit.

    The order is that of `FindPtxAsExecutable` and `CandidateCudaRoots` in TensorFlow 2.21: the folder that XLA_FLAGS
    names, PATH (for ptxas only), then the toolkits and the package nvidia-cuda-nvcc-cu12.
    """
    named = re.findall(r"--xla_gpu_cuda_data_dir=(\S+)", environment.get("XLA_FLAGS", ""))
    preferred = [Path(folder) for folder in named[-1:]]
    others = [*toolkits, packages / "nvidia/cuda_nvcc"]
    on_path = [Path(folder) for folder in environment["PATH"].split(os.pathsep)]
    ptxas = select_ptxas([*(root / "bin" for root in preferred), *on_path, *(root / "bin" for root in others)])
    return f"{ptxas}, {find_libdevice([*preferred, *others])}"


def check(
    packages: Path,
    environment: Mapping[str, str],
    toolkits: Iterable[Path] = TOOLKITS,
    open_library: Callable[[str], ctypes.CDLL] = ctypes.CDLL,
) -> str:
    """Return what TensorFlow in `packages` finds for GPUs; exit with an error when something does not fit."""
    opened = open_libraries(open_library)
    cudnn = check_cudnn(opened["libcudnn.so.9"])
    compiler = check_xla(packages, environment, toolkits)
    return f"{len(opened)} libraries, cuDNN {dotted(cudnn)}, {compiler}"


def dotted(version: Version) -> str:
    """Return the version as it is usually written."""
    return ".".join(map(str, version))


if __name__ == "__main__":
    if sys.argv[1:] != ["check"]:
        sys.exit("usage: gpu_libraries.py check")
    print(check(Path(sysconfig.get_path("platlib")), os.environ))
