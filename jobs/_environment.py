"""The environment of a job: what it overrides because the job depends on it, and variables that look misspelt.

Runs before anything heavy is imported: Keras, joblib and MLflow read their variables when they are imported.
"""

import atexit
import difflib
import json
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from jobs._variables import OPTIONS

PREFIX = "DOGBREED_"
# Variables of the suite that no job has as an option: Compose, Kubernetes, the workers of a training, and the tests
OTHER_VARIABLES = (
    "DOGBREED_DATA",
    "DOGBREED_RAW",
    "DOGBREED_RESTARTS",
    "DOGBREED_SCRATCH_LIMIT",
    "DOGBREED_SOURCE",
    "DOGBREED_TEST_S3_ENDPOINT",
    "DOGBREED_VERSION",
    "DOGBREED_WORKERS",
    "DOGBREED_WORKER_JOB",
    "DOGBREED_WORKER_SERVICE",
)
NO_HOME = "/nonexistent"  # Debian's home folder of users that have none; no library creates it
KERAS_JSON = {
    "floatx": "float32",
    "epsilon": 1e-07,
    "image_data_format": "channels_last",
    "nnx_enabled": False,
}  # Keras' own defaults; `backend` is overridden by KERAS_BACKEND
KERAS_VARIABLES = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")  # they would cut a training
JOBLIB_VARIABLES = ("JOBLIB_MULTIPROCESSING", "JOBLIB_START_METHOD", "LOKY_PICKLER")  # odd values fail its import
THREADS = (
    "LOKY_MAX_CPU_COUNT",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
)


def override() -> list[str]:
    """Set or remove the variables that this suite cannot work with; return a message for each one."""
    return [*_set_home(), *_set_user(), *_pin_keras(), *_drop_unusable()]


def _set_home() -> Iterator[str]:
    """Without HOME, and with a uid that is not in passwd, importing MLflow fails."""
    if os.environ.get("HOME") == "":
        del os.environ["HOME"]
        yield "HOME is empty and ignored"
    if os.path.expanduser("~") == "~":  # noqa: PTH111  # Path.expanduser raises here
        os.environ["HOME"] = NO_HOME
        yield f"uid {os.getuid()} has no home folder, nothing is cached in it; set HOME to a folder to change that"


def _set_user() -> Iterator[str]:
    """MLflow records who started a run, by getpass.getuser."""
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ["USER"] = f"uid-{os.getuid()}"
        yield f"uid {os.getuid()} has no name; runs in MLflow are by {os.environ['USER']!r}, set USER to change that"


def _pin_keras() -> Iterator[str]:
    """Make Keras use TensorFlow, float32 and channels last, whatever its variables and keras.json hold."""
    backend = os.environ.get("KERAS_BACKEND", "")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if backend not in ("", "tensorflow"):
        yield f"KERAS_BACKEND={backend} is ignored; the jobs use TensorFlow"
    for name in KERAS_VARIABLES:
        if value := os.environ.pop(name, ""):
            yield f"{name}={value} is ignored"
    if os.environ.get("KERAS_HOME") == "":  # Keras would write keras.json to the working directory
        del os.environ["KERAS_HOME"]
    home = _keras_home()
    ignored = _odd_settings(home / "keras.json")
    if ignored:
        os.environ["KERAS_HOME"] = str(_clean_keras_home(home))
        yield f"{home / 'keras.json'} is ignored: {ignored}"


def _keras_home() -> Path:
    """Return the folder where Keras looks for keras.json, found as in keras.src.backend.config."""
    if "KERAS_HOME" in os.environ:
        return Path(os.path.expanduser(os.environ["KERAS_HOME"]))  # noqa: PTH111  # as Keras does, without an error
    home = os.path.expanduser("~")  # noqa: PTH111
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")


def _odd_settings(file: Path) -> str:
    """Return what in keras.json differs from KERAS_JSON, as text; empty if there is nothing, or no file."""
    try:
        found = json.loads(file.read_text())
        odd = {name: found[name] for name, value in KERAS_JSON.items() if found.get(name, value) != value}
        if found.get("backend", "tensorflow") != "tensorflow":
            odd["backend"] = found["backend"]
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return ", ".join(f"{name} {value!r}" for name, value in odd.items())


def _clean_keras_home(home: Path) -> Path:
    """Return a temporary folder without keras.json, in which `models` is that of `home`: downloaded weights."""
    clean = Path(tempfile.mkdtemp(prefix="dogbreed-keras-"))
    atexit.register(shutil.rmtree, clean, ignore_errors=True)
    with suppress(OSError):  # a home that cannot be written: Keras downloads again
        (home / "models").mkdir(parents=True, exist_ok=True)
        (clean / "models").symlink_to((home / "models").absolute())
    return clean


def _drop_unusable() -> Iterator[str]:
    for name in JOBLIB_VARIABLES:
        if value := os.environ.pop(name, ""):
            yield f"{name}={value} is ignored; the jobs start no worker processes of joblib"
    for name in THREADS:
        value = os.environ.get(name, "")
        if value and not re.fullmatch(r"\s*[1-9]\d*(\s*,\s*[1-9]\d*)*\s*", value):  # OMP_NUM_THREADS may be a list
            del os.environ[name]
            yield f"{name}={value} is ignored; it must be a number from 1"


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each DOGBREED_* variable that no job, Compose file or worker knows."""
    known = {name.removeprefix(PREFIX) for name in (*OPTIONS, *OTHER_VARIABLES)}
    given = {name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX)}
    for name in sorted(given - known):
        nearest = difflib.get_close_matches(name, sorted(known), n=1)
        advice = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/cli.md lists the options of all jobs"
        yield f"{PREFIX}{name} is no variable of any job and is ignored; {advice}"
