"""Probes: small computations on GPUs with known results, one for each library or compiler that a job needs.

`python -m dogbreed.workflows.gpu_probe GPU:0,GPU:1 matmul xla` runs the named ones and prints a line of JSON for each,
`{"probe": ..., "found": ...}` or `{"probe": ..., "error": ...}`. A driver or compiler that aborts ends this process.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.workflows import gpu_memory

SIDE = 256  # of the matrices
IMAGE, KERNEL, CHANNELS = 32, 3, 8  # of the convolutions


@dataclass(frozen=True)
class Probe:
    """A computation on one device, and the sum of its results: whole numbers that every precision holds exactly."""

    compute: Callable[[], tf.Tensor]
    expected: float


def multiply(dtype: str = "float32") -> tf.Tensor:
    """Return the product of two matrices of ones: cuBLAS."""
    ones = tf.ones((SIDE, SIDE), dtype)
    return ones @ ones


def transform() -> tf.Tensor:
    """Return max(2x - 1, 0) of ones: TensorFlow's own elementwise kernels."""
    return tf.nn.relu(2 * tf.ones((SIDE, SIDE)) - 1)


def convolve(jit_compile: bool = False) -> tf.Tensor:
    """Return a convolution with bias and ReLU, of ones: cuDNN, which fuses the three under XLA (jit_compile)."""

    def layer(images: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, kernel, 1, "VALID"), bias))

    images, kernel = tf.ones((1, IMAGE, IMAGE, CHANNELS)), tf.ones((KERNEL, KERNEL, CHANNELS, CHANNELS))
    compiled = tf.function(layer, jit_compile=jit_compile)  # ones as arguments: constants may be folded at compile time
    return compiled(images, kernel, tf.ones(CHANNELS))


CONVOLVED = (IMAGE - KERNEL + 1) ** 2 * CHANNELS * (KERNEL**2 * CHANNELS + 1.0)
PROBES = {
    "matmul": Probe(multiply, SIDE**3),
    "elementwise": Probe(transform, SIDE**2),
    "convolution": Probe(convolve, CONVOLVED),
    "bfloat16": Probe(lambda: multiply("bfloat16"), SIDE**3),
    "xla": Probe(lambda: convolve(jit_compile=True), CONVOLVED),
}
ALL_REDUCE = "all-reduce"  # of all devices together


def run_probe(name: str, devices: Sequence[str]) -> str:
    """Run a probe on each device, or the all-reduce on all.

    Args:
        devices: for example `GPU:0`.

    Raises:
        EnvironmentUnsupported: an error, a wrong result, or TensorFlow computed it on another device.
    """
    began = time.monotonic()
    if name == ALL_REDUCE:
        _check(f"{name} on {', '.join(devices)}", partial(_all_reduce, devices), float(len(devices)))
    else:
        for device in devices:
            _check(f"{name} on {device}", partial(_sum_on, device, PROBES[name]), PROBES[name].expected)
    return f"right on {', '.join(devices)} in {time.monotonic() - began:.1f} s"


def _check(what: str, compute: Callable[[], float], expected: float) -> None:
    try:
        result = compute()
    except (tf.errors.OpError, RuntimeError) as error:
        raise EnvironmentUnsupported(
            f"{what}: {type(error).__name__}: {error}; check the driver and the other processes that use this GPU"
        ) from error
    if result != expected:
        raise EnvironmentUnsupported(f"{what} is {result:g} instead of {expected:g}; stop using this GPU")


def _sum_on(device: str, probe: Probe) -> float:
    with tf.device(device):
        result = probe.compute()
    if not result.device.endswith(f":{device}"):
        raise EnvironmentUnsupported(
            f"TensorFlow cannot use {device} and falls back to {result.device}; check the driver and the other "
            "processes that use this GPU"
        )
    return float(result.numpy().astype("float64").sum())


def _all_reduce(devices: Sequence[str]) -> float:
    """Return the sum of a one from each device: NCCL between GPUs; the smallest of the sums that the devices have."""
    strategy = tf.distribute.MirroredStrategy(devices)

    def reduce_one() -> tf.Tensor:
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.ones(SIDE))

    sums = tf.function(lambda: strategy.run(reduce_one), autograph=False)()
    return float(min(tf.reduce_min(each) for each in strategy.experimental_local_results(sums)))


def main(devices: str, *names: str) -> None:
    """Run probes on `devices`, separated by commas, and print what they found."""
    gpu_memory.enable_memory_growth()
    for name in names:
        try:
            result = {"probe": name, "found": run_probe(name, devices.split(","))}
        except EnvironmentUnsupported as error:
            result = {"probe": name, "error": str(error)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
