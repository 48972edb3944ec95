"""Build-time helper of jobs.Dockerfile: find and check the CUDA libraries that TensorFlow opens at run time."""

import ctypes
import importlib.metadata
import re
import sys
from pathlib import Path

# what TensorFlow 2.21 opens by name when it looks for GPUs, less libcuda.so.1, which the host's driver brings
LIBRARIES = (
    "libcudart.so.12",
    "libcublas.so.12",
    "libcublasLt.so.12",
    "libcufft.so.11",
    "libcusolver.so.11",
    "libcusparse.so.12",
    "libcudnn.so.9",
)
TENSORFLOW = "2.21."


def folders() -> list[str]:
    """Return the library folders of the nvidia-* packages from PyPI, wherever Python finds packages."""
    return [str(path) for place in sys.path for path in sorted(Path(place).glob("nvidia/*/lib"))]


def is_cuda() -> bool:
    """Tell whether the base image has CUDA, as a toolkit or as packages from PyPI."""
    return bool(folders()) or any(Path("/usr/local").glob("cuda*/**/libcudart.so*"))


def check() -> str:
    """Return what was checked; exit with an error when a library or TensorFlow itself does not fit."""
    found = {name: d.version for d in importlib.metadata.distributions() if (name := d.name.lower())}
    versions = [version for name, version in found.items() if re.fullmatch("tensorflow([-_]cpu)?", name)]
    if not versions or not versions[0].startswith(TENSORFLOW):
        sys.exit(f"the base image has TensorFlow {versions or 'nowhere'}, not {TENSORFLOW}*; choose another BASE_IMAGE")
    if not is_cuda():
        return f"TensorFlow {versions[0]}; no CUDA in the base image: jobs run on the CPU"
    for library in LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            sys.exit(f"TensorFlow would see no GPU: {error}; choose a BASE_IMAGE with CUDA 12 and its libraries")
    return f"TensorFlow {versions[0]} finds {', '.join(LIBRARIES)}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["is-cuda"]:
            sys.exit(0 if is_cuda() else 1)
        case ["folders"]:
            print("\n".join(folders()))
        case ["check"]:
            print(check())
        case _:
            sys.exit("usage: gpu_libraries.py is-cuda|folders|check")
