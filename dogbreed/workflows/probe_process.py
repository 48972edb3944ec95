"""Runs GPU probes in a child process, so that an abort or a hang is the result of a check and does not end the job."""

import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dogbreed.core.errors import EnvironmentUnsupported

COMMAND = (sys.executable, "-m", "dogbreed.workflows.gpu_probe")
TIME_LIMIT = 240.0  # seconds for all probes; the deadline of the preflight's Kubernetes Job is 600
LAST_LINES = 5  # of stderr that an error shows
NOISE = re.compile(  # on stderr, beside warnings and the reason of an abort: information, and stack frames
    r"I\d{4} |WARNING: All log messages before|\s*(@|#\d+)\s+(0x)?[0-9a-f]{6}"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    how: str  # `ended with <exit code>`, or why it was killed
    stdout: str
    stderr: tuple[str, ...]  # its lines, each once, without NOISE


def run_probes(
    devices: Sequence[str], names: Sequence[str], command: Sequence[str] = COMMAND, seconds: float = TIME_LIMIT
) -> dict[str, Callable[[], str]]:
    """Run the probes `names` in one child process and return a check for each that returns or raises its result.

    Args:
        command: gets the devices, separated by commas, and the names as arguments, and prints what `gpu_probe` does.
        seconds: after which the child is killed.
    """
    child = _run([*command, ",".join(devices), *names], seconds)
    results = _results(child.stdout)
    missing = [name for name in names if name not in results]
    if missing:
        reason = "; ".join([f"the process {child.how}", *child.stderr[-LAST_LINES:]])
        results[missing[0]] = {"error": reason}
        results |= {name: {"error": f"not run, because {missing[0]} ended the process"} for name in missing[1:]}
    elif child.stderr:  # warnings, which no result shows
        log.warning("%s", "\n".join(child.stderr))
    return {name: partial(_report, results[name]) for name in names}


def _run(command: Sequence[str], seconds: float) -> Ended:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        how, stdout, stderr = _describe(done.returncode), done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        how, stdout, stderr = f"was killed after {seconds:g} s", error.stdout or b"", error.stderr or b""
    lines = dict.fromkeys(line.rstrip() for line in stderr.decode(errors="replace").splitlines())
    kept = tuple(line for line in lines if line and not NOISE.match(line))
    return Ended(how, stdout.decode(errors="replace"), kept)


def _describe(code: int) -> str:
    """Return how a process ended, with the exit code that a shell would give for a signal."""
    return f"ended with {128 - code} ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"


def _results(stdout: str) -> dict[str, dict[str, str]]:
    """Return the result of each probe that has ended; other lines were printed by libraries."""
    lines = [line for line in stdout.splitlines() if line.startswith('{"probe": ') and line.endswith("}")]
    return {result.pop("probe"): result for result in map(json.loads, lines)}


def _report(result: dict[str, str]) -> str:
    if "error" in result:
        raise EnvironmentUnsupported(result["error"])
    return result["found"]
