"""Checks of GPUs: as many as expected, of a compute capability that TensorFlow has code for, and able to compute."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.core.resources import gpu_count, required_gpu_count
from dogbreed.training.build import BFLOAT16
from dogbreed.workflows import gpu_probe, probe_process

LOWEST_CAPABILITY = (7, 5)  # Turing; current cuDNN supports none below
GUIDE = 'docs/operations.md, "A GPU host", lists what it needs to use a GPU'
HIDE = "use another GPU, or run on the CPU with an empty CUDA_VISIBLE_DEVICES"


def check_gpus(wanted: int | None, compute: bool = True) -> str:
    """Count the GPUs, check their compute capabilities, and multiply two matrices on each.

    This short check runs inside each job. It takes a second and omits the other probes, whose compilers may abort
    the process; `probe_gpus` runs them in a child process, for jobs.preflight.

    Args:
        wanted: how many TensorFlow must see, None for all of a container and none of a bare host.
        compute: False to initialize no device.

    Raises:
        EnvironmentUnsupported: TensorFlow sees fewer, or cannot use one of those that it may use.
    """
    wanted = required_gpu_count() if wanted is None else wanted
    found = tf.config.list_physical_devices("GPU")
    if len(found) < wanted:
        raise EnvironmentUnsupported(f"TensorFlow sees {len(found)} of {wanted} GPUs; {_advice(len(found))}")
    if not found:
        unseen = gpu_count()
        return (
            f"none of {unseen}, TensorFlow runs on the CPU; {GUIDE}" if unseen else "none, TensorFlow runs on the CPU"
        )
    for number, details in enumerate(_details()):
        _check_capability(f"GPU:{number} ({details.get('device_name')})", details.get("compute_capability"))
        if compute:
            gpu_probe.run_probe("matmul", [f"GPU:{number}"])
    names = [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in found]
    return f"TensorFlow sees {len(found)}: {', '.join(names)}"


def probe_gpus() -> Mapping[str, Callable[[], str]]:
    """Run the probes on all visible GPUs in a child process and return a check for each; none without a GPU."""
    details = _details()
    if not details:
        return {}
    names = list(gpu_probe.PROBES)
    if any(gpu.get("compute_capability", BFLOAT16) < BFLOAT16 for gpu in details):
        names.remove("bfloat16")
    if len(details) > 1:
        names.append(gpu_probe.ALL_REDUCE)
    return probe_process.run_probes([f"GPU:{number}" for number in range(len(details))], names)


def _advice(found: int) -> str:
    """Return what to do where TensorFlow sees `found` GPUs, which are too few."""
    if found:
        return (
            "nvidia-smi shows whether another one is in MIG mode or not given to this container; to do with less, use "
            f"--gpus {found}"
        )
    return (
        "use the image dogbreed/train-gpu, which has CUDA 12 and cuDNN 9, and check the host's driver with nvidia-smi, "
        f"or run on the CPU with --gpus 0; {GUIDE}"
    )


def _details() -> list[dict[str, Any]]:
    """Return TensorFlow's details of each GPU that it may use."""
    return [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]


def _check_capability(gpu: str, capability: tuple[int, int] | None) -> None:
    """Raise EnvironmentUnsupported for a GPU that is too old, or too new for this TensorFlow; pass what is unknown."""
    if capability is None:
        return
    version, lowest = (".".join(map(str, each)) for each in (capability, LOWEST_CAPABILITY))
    if capability < LOWEST_CAPABILITY:
        raise EnvironmentUnsupported(
            f"{gpu} has compute capability {version}, {lowest} is the lowest supported; {HIDE}"
        )
    built = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", ())
    if built and not _has_code(capability, built):
        raise EnvironmentUnsupported(
            f"{gpu} has compute capability {version}, and TensorFlow {tf.__version__} has no code for "
            f"sm_{capability[0]}{capability[1]}, only {', '.join(built)}; {HIDE}"
        )


def _has_code(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Return whether one of `built`, for example sm_80, runs on a GPU: the same major version, and no later minor one.

    What the driver could compile from PTX of an earlier major version does not count: XLA has no such way.
    """
    versions = [name.rpartition("_")[2] for name in built]
    exact = [divmod(int(version[:-1]), 10) for version in versions if version.endswith("a")]  # sm_90a runs on 9.0 only
    others = [divmod(int(version.rstrip("f")), 10) for version in versions if not version.endswith("a")]
    return capability in exact or any(major == capability[0] and minor <= capability[1] for major, minor in others)
