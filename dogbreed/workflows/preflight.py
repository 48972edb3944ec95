"""Is everything there that the jobs need: object store, MLflow, clock, scratch space, memory, GPUs?"""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow

from dogbreed.core.errors import DataError, DogbreedError, EnvironmentUnsupported, ServiceUnavailable
from dogbreed.core.resources import GIB, check_scratch, container_gpu_count, memory_limit
from dogbreed.core.storage import Store
from dogbreed.tracking import runs
from dogbreed.tracking.mlflow_errors import ping, translate

SKEW = 300.0  # seconds; S3 refuses requests that are 15 minutes off, and TLS and logs suffer before that
SCRATCH = 0.5  # GiB; a job that needs more, for example to copy a dataset, finds that out when it knows how much

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckResult:
    """What a check found, or the error that it ended with."""

    check: str
    found: str
    error: DogbreedError | None = None


def run_checks(checks: Mapping[str, Callable[[], str]]) -> list[CheckResult]:
    """Run every check, whatever the others find."""
    results = []
    for name, check in checks.items():
        try:
            results.append(CheckResult(name, check()))
        except DogbreedError as error:
            results.append(CheckResult(name, str(error), error))
        except OSError as error:
            results.append(CheckResult(name, str(error), EnvironmentUnsupported(f"{name}: {error}")))
    return results


def all_checks(store: Store, gpus: int | None, memory: float) -> dict[str, Callable[[], str]]:
    """Return the full preflight, in the order in which one thing explains the next.

    `memory` is in GiB; `gpus` is how many TensorFlow must see, None for those that were given.
    """
    return {
        "clock": lambda: check_clock(store),
        "store": lambda: check_store(store),
        "mlflow": check_mlflow,
        "scratch": lambda: check_scratch(SCRATCH),
        "memory": lambda: check_memory(memory),
        "gpu": lambda: check_gpus(gpus),
    }


def before_job(*stores: Store, gpus: int | None = 0, tracked: bool = True, single_process: bool = True) -> None:
    """Check what a job needs before it begins: its prefixes answer, scratch, and the GPUs where it uses them.

    MLflow being down is a warning here. One of several workers, which is not `single_process`, only counts its GPUs:
    TensorFlow must know all workers before it computes anything.
    """
    for store in stores:
        next(iter(store.list()), None)
    check_scratch(SCRATCH)
    if gpus != 0:
        log.info("GPUs: %s", check_gpus(gpus, compute=single_process))
    if tracked:
        try:
            ping()
        except ServiceUnavailable as error:
            log.warning("%s", error)


def check_store(store: Store) -> str:
    """Put, get, list and delete a small object of our own."""
    key, data = f"_preflight/{uuid.uuid4()}", b"dogbreed"
    store.put(key, data)
    try:
        if store.read(key) != data or list(store.list(key)) != [key]:
            raise DataError(f"{store.uri_of(key)} is not what was just written; choose another object store")
    finally:
        store.delete(key)
    return f"{store.uri}: put, get, list, delete"


def check_clock(store: Store) -> str:
    """Compare this machine's clock with the store's."""
    theirs = store.server_time()
    if theirs is None:
        return "the store is a folder: one clock"
    skew = (datetime.now(UTC) - theirs).total_seconds()
    if abs(skew) > SKEW:
        raise EnvironmentUnsupported(
            f"this clock is {skew:+,.0f} s off the store's, {SKEW:g} s are tolerated; set it by NTP"
        )
    return f"{skew:+.0f} s off the store's"


def check_mlflow() -> str:
    """Write a run with a metric and an artifact, read them back and delete the run."""
    with runs.start_run("preflight", "preflight", {}, {}) as run:
        run.log_metrics(0, {"probe": 1.0})
        mlflow.log_text("dogbreed", "probe.txt")
    with translate():
        found = mlflow.get_run(run.id)
        text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/probe.txt")
        mlflow.delete_run(run.id)
    if found.data.metrics != {"probe": 1.0} or text != "dogbreed":
        raise DataError(f"run {run.id} is not what was just written; check the server's database and artifacts")
    return f"{mlflow.get_tracking_uri()}: run, metric, artifact"


def check_memory(needed: float) -> str:
    """Compare what this process may use with `needed` GiB."""
    limit = memory_limit() / GIB
    if limit < needed:
        raise EnvironmentUnsupported(
            f"{limit:.1f} GiB may be used, {needed:g} are needed; raise the container's memory limit"
        )
    return f"{limit:.1f} GiB may be used, {needed:g} are needed"


def check_gpus(wanted: int | None, compute: bool = True) -> str:
    """Multiply two matrices on each GPU that TensorFlow sees; EnvironmentUnsupported when it sees fewer than
    `wanted`.
    """
    import tensorflow as tf

    wanted = container_gpu_count() if wanted is None else wanted
    seen = tf.config.list_physical_devices("GPU")
    if len(seen) < wanted:
        raise EnvironmentUnsupported(
            f"TensorFlow sees {len(seen)} of {wanted} GPUs; use an image with CUDA 12 and cuDNN 9 and check the host's "
            "driver, or run on the CPU with --gpus 0"
        )
    for device in seen if compute else ():
        try:
            with tf.device(device.name.removeprefix("/physical_device:")):
                ones = tf.ones((256, 256))
                product = float(tf.reduce_sum(ones @ ones))
        except (tf.errors.OpError, RuntimeError) as error:
            raise EnvironmentUnsupported(
                f"{device.name} cannot multiply: {error}; check its driver and who else uses it"
            ) from error
        if product != 256.0**3:
            raise EnvironmentUnsupported(f"{device.name} multiplies wrongly; take this GPU out of service")
    names = [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in seen]
    return f"TensorFlow sees {len(seen)}: {', '.join(names)}" if seen else "none given, TensorFlow runs on the CPU"
