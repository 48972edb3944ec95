"""Rows of `python -m bench.gpu` that do not train: environment, preflight, the dataset of the real input."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import pynvml
import tensorflow as tf

from bench.jobs import draw_raw, job
from dogbreed.core import resources
from dogbreed.core.scratch import check_scratch
from dogbreed.core.storage import open_store
from dogbreed.training.build import resolve_precision, resolve_xla
from dogbreed.workflows.gpu_checks import check_gpus
from dogbreed.workflows.preflight import SCRATCH, check_memory, check_store, run_checks

PER_CLASS = {"gpu": 200, "cpu": 12}  # generated images of each class
SIDE = 224  # pixels of the dataset, the largest of the recipes


def environment(device: str, data: str, home: str) -> dict[str, Any]:
    """Return GPUs, driver, libraries and what recipes choose on this machine."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    names = [found.get("device_name", "unknown") for found in gpus]
    build = tf.sysconfig.get_build_info()
    facts = {
        "time": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "revision": _revision(),
        "GPUs": ", ".join(names) or "none",
        "compute capability": ", ".join(".".join(map(str, gpu.get("compute_capability", ()))) for gpu in gpus),
        "GPU memory, power limit and driver": _driver(),
        "TensorFlow, Keras, NumPy": f"{tf.__version__}, {keras.__version__}, {version('numpy')}",
        "TensorFlow is built for": f"CUDA {build.get('cuda_version')}, cuDNN {build.get('cudnn_version')}",
        "ptxas": _ptxas(),
        "TensorFloat-32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "precision auto": resolve_precision("auto"),
        "XLA auto": resolve_xla("auto"),
        "XLA_FLAGS, TF_XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')}, {os.environ.get('TF_XLA_FLAGS', '')}",
        "cores and memory": f"{resources.cores()}, {resources.memory_limit() / resources.GIB:.1f} GiB",
        "Python and system": f"{platform.python_version()}, {platform.platform()}",
    }
    text = f"GPUs: {facts['GPUs']}; {facts['GPU memory, power limit and driver']}; precision {facts['precision auto']}"
    return {"text": text, "gpus": names, "facts": facts}


def _driver() -> str:
    """Return memory and power limit of each GPU of the machine, also of those that TensorFlow may not use."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        memory = [f"{pynvml.nvmlDeviceGetMemoryInfo(gpu).total / resources.GIB:.0f} GiB" for gpu in handles]
        found = [f"{size}{_power_limit(gpu)}" for size, gpu in zip(memory, handles, strict=True)]
        return f"{', '.join(found)}, driver {pynvml.nvmlSystemGetDriverVersion()}"
    except pynvml.NVMLError as error:
        return f"no NVIDIA driver ({error})"


def _power_limit(gpu: Any) -> str:
    """Return ` at most 450 W`, "" for a GPU whose limit is not known, as of laptops."""
    try:
        return f" at most {pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000:.0f} W"
    except pynvml.NVMLError:
        return ""


def _revision() -> str:
    """Return the commit of this checkout, as the report of another machine is compared with this one's."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # in the container image
        return "unknown"


def _ptxas() -> str:
    if not shutil.which("ptxas"):
        return "none in PATH"
    return subprocess.run(["ptxas", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def preflight(device: str, data: str, home: str) -> dict[str, Any]:
    """Run the preflight's checks of this machine; the first error is raised after all have run."""
    store = open_store(f"{home}/preflight")
    results = run_checks(
        {
            "store": lambda: check_store(store),
            "scratch": lambda: check_scratch(SCRATCH),
            "memory": lambda: check_memory(4),
            "gpu": lambda: check_gpus(0 if device == "cpu" else None),
        }
    )
    for result in results:
        if result.error:
            raise result.error
    return {"text": "; ".join(f"{result.check}: {result.found}" for result in results)}


def dataset(device: str, data: str, home: str) -> dict[str, Any]:
    """Generate images and preprocess them to `data`."""
    raw = draw_raw(Path(home), PER_CLASS[device])
    options = ("--source", "synthetic", "--raw", raw, "--out", data, "--size", str(SIDE))
    splits = job("preprocess", *options, MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db")["splits"]
    return {"text": f"{splits['train']} train images of {SIDE} px", **splits}
