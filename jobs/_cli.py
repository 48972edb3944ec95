"""Shared by all jobs: logging, signals, exit codes, the JSON summary and common options."""

import atexit
import errno
import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from dogbreed.core import log, signals
from dogbreed.core.errors import DogbreedError, EnvironmentUnsupported, RetryableError, ShutdownRequested
from dogbreed.core.names import RULE, is_valid_name
from jobs import OVERRIDDEN, _environment, _streams

F = TypeVar("F", bound=Callable[..., Any])
TRANSIENT = {errno.EADDRINUSE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EIO, errno.ESTALE}  # ESTALE: NFS

# no TensorFlow banner, no MLflow usage statistics, no minutes of silent HTTP retries
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # through the server: clients may not be able to reach the address of its object store
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}

# A parent process with an active run sets these, or a user by hand. They would lead MLflow's client to other runs,
# experiments, parents or models than the job's own.
FOREIGN_RUN = (
    "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_CONTEXT", "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID",
)  # fmt: skip

# at exit the interpreter would look for garbage among all objects of TensorFlow and MLflow: 1 to 2 s
atexit.register(gc.freeze)


class Job(click.Command):
    """A command that prints the summary that its function returns, and exits with the code of its error."""

    def __init__(self, name: str, **attributes: Any) -> None:
        settings = {
            "auto_envvar_prefix": f"DOGBREED_{name.upper()}",
            "show_default": True,
            "max_content_width": 100,
            "help_option_names": ["-h", "--help"],
        }
        super().__init__(name, context_settings=settings, **attributes)

    def invoke(self, ctx: click.Context) -> None:
        """Run the job and print the summary as one JSON object, the last line of stdout."""
        log.configure(str(self.name))
        logger = logging.getLogger(str(self.name))
        try:
            signals.install_handlers()
            _prepare_environment(logger)
            _streams.print_summary(super().invoke(ctx))
        except (DogbreedError, ShutdownRequested, OSError) as error:
            known = _from_os(error) if isinstance(error, OSError) else error
            logger.error("%s", known)
            sys.exit(known.exit_code)
        finally:
            _streams.discard_unwritten()


def _prepare_environment(logger: logging.Logger) -> None:
    """Set the variables that libraries read, and log those that are overridden, ignored or unknown."""
    for message in (*OVERRIDDEN, *_environment.unknown_variables(os.environ)):
        logger.warning("%s", message)
    _enable_warnings_on_gpus()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in FOREIGN_RUN:
        if os.environ.pop(name, ""):
            logger.warning("ignored %s: a job writes runs of its own", name)


def _enable_warnings_on_gpus() -> None:
    """Let TensorFlow print its warnings where GPUs are, for example that ptxas is of a version that miscompiles."""
    from dogbreed.core.resources import gpu_count  # its imports would double the time of --help

    if gpu_count():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


def _from_os(error: OSError) -> DogbreedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RetryableError(f"{error}; free space and run the same command again")
    if isinstance(error, ConnectionError | TimeoutError) or error.errno in TRANSIENT:
        return RetryableError(f"{error}; run the same command again")
    return EnvironmentUnsupported(f"{error}; choose a location that this user can read and write")


def job(name: str) -> Callable[[Callable[..., Mapping[str, object]]], Job]:
    """Return a decorator that makes a function, which returns a summary, the job `name`."""
    return lambda function: click.command(name, cls=Job)(function)


SEED = click.IntRange(0, 2**32 - 1)  # the range of NumPy's generators


def validate_name(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Validate the name of a dataset, a registered model, an experiment's prefix or a job key."""
    if name is not None and not is_valid_name(name):
        raise click.BadParameter(f"{name!r} must be {RULE}")
    return name


def name_option(flag: str, help: str, **attributes: Any) -> Callable[[F], F]:
    """Return an option for a name that MLflow accepts."""
    return click.option(flag, metavar="NAME", callback=validate_name, help=help, **attributes)


gpus_option = click.option(
    "--gpus",
    type=click.IntRange(0),
    help="Exit with 78 if TensorFlow finds fewer GPUs; CUDA_VISIBLE_DEVICES selects them.  "
    "[default: those given to the container, 0 outside one]",
)


worker_index_option = click.option(
    "--worker-index", type=int, envvar="JOB_COMPLETION_INDEX", help="This worker's fixed share: 0 to N-1."
)
workers_option = click.option(
    "--workers", type=click.IntRange(1), default=1, help="Number of workers N with a fixed share."
)


max_ignored_option = click.option(
    "--max-ignored",
    type=click.FloatRange(0, 1),
    default=0.01,
    help="Highest accepted fraction of image files that are ignored; ten always are.",
)


def standalone_flag(context: click.Context, option: click.Parameter, given: bool) -> bool:
    """Make required options optional if an eager flag is given that needs none of them."""
    context.resilient_parsing = context.resilient_parsing or given
    return given


def uri_option(flag: str, help: str, **attributes: Any) -> Callable[[F], F]:
    """Return an option for a URI: folder/, file:///folder or s3://bucket/prefix."""
    return click.option(
        flag, metavar="URI", help=f"{help} (folder, file:///folder or s3://bucket/prefix)", **attributes
    )


def field_option(config: type, field: str, choices: tuple[str, ...] = (), *, help: str) -> Callable[[F], F]:
    """Return an option for a field of a dataclass, with the field's default and type."""
    value = config.__dataclass_fields__[field].default  # type: ignore[attr-defined]
    kind: Any = click.Choice(choices) if choices else SEED if field == "seed" else type(value)
    return click.option(f"--{field.replace('_', '-')}", type=kind, default=value, help=help)


def default_checkpoints(data: str) -> str:
    """Return the default of --checkpoints: `checkpoints` beside the dataset."""
    parent, slash, _ = data.rstrip("/").rpartition("/")
    if parent.endswith(":/"):  # a bucket without a prefix
        return f"{data.rstrip('/')}/checkpoints"
    return f"{parent}{slash}checkpoints"
