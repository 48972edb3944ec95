"""jobs.preflight: check object store, MLflow, clock, scratch space, memory and GPUs; a short form runs in each job."""

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from dogbreed.core.errors import DataError, DogbreedError, EnvironmentUnsupported
from dogbreed.core.resources import GIB, memory_limit
from dogbreed.core.scratch import check_scratch
from dogbreed.core.storage import Store, open_store
from dogbreed.tracking import runs
from dogbreed.tracking.mlflow_errors import ping

MAX_SKEW = 300.0  # seconds; S3 refuses requests that are 15 minutes off, TLS and logs have problems before that
SCRATCH = 0.5  # GiB; a job that needs more, for example to copy a dataset, checks that itself

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckResult:
    """Result of a check, or the error that it raised."""

    check: str
    found: str
    error: DogbreedError | None = None


def check_all(store_uri: str, gpus: int | None, memory: float, experiment_prefix: str) -> list[CheckResult]:
    """Run the full preflight, ordered so that an earlier failure explains later ones: GPUs that fail are not probed.

    Args:
        store_uri: a prefix that the jobs will write to.
        gpus: how many TensorFlow must see, None for all of a container.
        memory: GiB that the jobs will need.
        experiment_prefix: of the experiment of the run that is written to MLflow and deleted.
    """
    from dogbreed.workflows import gpu_checks  # TensorFlow, which not every job with a preflight imports

    store = open_store(store_uri)
    results = run_checks(
        {
            "clock": lambda: check_clock(store),
            "store": lambda: check_store(store),
            "mlflow": partial(runs.check_round_trip, experiment_prefix),
            "scratch": lambda: check_scratch(SCRATCH),
            "memory": lambda: check_memory(memory),
            "gpu": lambda: gpu_checks.check_gpus(gpus, compute=False),
        }
    )
    if results[-1].error:
        return results
    return results + run_checks(gpu_checks.probe_gpus())


def run_checks(checks: Mapping[str, Callable[[], str]]) -> list[CheckResult]:
    """Run every check, also after one has failed."""
    results = []
    for name, check in checks.items():
        try:
            results.append(CheckResult(name, check()))
        except DogbreedError as error:
            results.append(CheckResult(name, str(error), error))
        except OSError as error:
            results.append(CheckResult(name, str(error), EnvironmentUnsupported(f"{name}: {error}")))
    return results


def before_job(*stores: Store, gpus: int | None = 0, tracked: bool = True, single_process: bool = True) -> None:
    """Check what a job needs before it starts: its stores, scratch space and GPUs, see `gpu_checks.check_gpus`.

    Args:
        gpus: how many TensorFlow must see, None for all of a container, 0 to skip the check.
        tracked: also ping MLflow, which the job can do without: a failure is a warning.
        single_process: False for one of several workers, which computes nothing on its GPUs: TensorFlow must know all
            workers before it initializes a device.
    """
    for store in stores:
        next(iter(store.list()), None)
    check_scratch(SCRATCH)
    if gpus != 0:
        from dogbreed.workflows import gpu_checks  # TensorFlow, which not every job with a preflight imports

        log.info("GPUs: %s", gpu_checks.check_gpus(gpus, compute=single_process))
    if tracked:
        try:
            ping()
        except DogbreedError as error:
            log.warning("%s", error)


def check_store(store: Store) -> str:
    """Put, get, list and delete a small object."""
    key, data = f"_preflight/{uuid.uuid4()}", b"dogbreed"
    store.put(key, data)
    try:
        if store.read(key) != data or list(store.list(key)) != [key]:
            raise DataError(f"{store.uri_of(key)} differs from what was written; choose another object store")
    finally:
        store.delete(key)
    return f"{store.uri}: put, get, list, delete"


def check_clock(store: Store) -> str:
    """Compare this machine's clock with the store's."""
    server_time = store.server_time()
    if server_time is None:
        return "the store is a folder, with the same clock"
    skew = (datetime.now(UTC) - server_time).total_seconds()
    if abs(skew) > MAX_SKEW:
        raise EnvironmentUnsupported(
            f"this clock is {skew:+,.0f} s off the store's, at most {MAX_SKEW:g} s are allowed; set it by NTP"
        )
    return f"{skew:+.0f} s off the store's"


def check_memory(needed: float) -> str:
    """Raise EnvironmentUnsupported if this process may use less than `needed` GiB."""
    limit = memory_limit() / GIB
    if limit < needed:
        raise EnvironmentUnsupported(
            f"{limit:.1f} GiB are available, {needed:g} are needed; raise the container's memory limit"
        )
    return f"{limit:.1f} GiB are available, {needed:g} are needed"
