"""GPU probes in a child process: whatever becomes of it is the result of a check."""

import logging
import sys

import pytest

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.workflows.probe_process import run_probes

NAMES = ("matmul", "xla", "bfloat16")
START = """
import json, os, sys, time
devices, *names = sys.argv[1:]
def report(name, **result):
    print(json.dumps({"probe": name, **result}), flush=True)
print("printed by a library", flush=True)
report("matmul", found=f"right on {devices}")
"""
ABORT = """
print('''WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1796077308.128025   20731 gpu_device.cc:2043] Created device
early
LLVM ERROR: PTX version 8.5 does not support target 'sm_120'
LLVM ERROR: PTX version 8.5 does not support target 'sm_120'
 #0 0x00007f2f1c3a
    @     0x7f2f1c3a5d10  abort''', file=sys.stderr, flush=True)
os.abort()
"""


def results(script: str, seconds: float = 30) -> dict[str, str]:
    """Return what each check of a child that runs START and `script` returns or raises."""
    found = {}
    command = (sys.executable, "-I", "-S", "-c", START + script)
    for name, check in run_probes(["GPU:0", "GPU:1"], NAMES, command, seconds).items():
        try:
            found[name] = check()
        except EnvironmentUnsupported as error:
            found[name] = f"78: {error}"
    return found


def test_an_abort_fails_the_probe_that_ran_with_the_last_lines_and_the_later_ones_did_not_run() -> None:
    assert results(ABORT) == {
        "matmul": "right on GPU:0,GPU:1",
        "xla": "78: the process ended with 134 (SIGABRT); early; "
        "LLVM ERROR: PTX version 8.5 does not support target 'sm_120'",
        "bfloat16": "78: not run, because xla ended the process",
    }


def test_a_hang_is_killed_and_fails_the_probe_that_ran() -> None:
    found = results("print('compiling', file=sys.stderr, flush=True); time.sleep(60)", seconds=2)
    assert found["matmul"] == "right on GPU:0,GPU:1"
    assert found["xla"] == "78: the process was killed after 2 s; compiling"
    assert found["bfloat16"] == "78: not run, because xla ended the process"


def test_a_failed_probe_does_not_hide_those_after_it() -> None:
    found = results("report('xla', error='no PTX compiler'); report('bfloat16', found='right')")
    assert found == {"matmul": "right on GPU:0,GPU:1", "xla": "78: no PTX compiler", "bfloat16": "right"}


def test_only_the_last_lines_of_much_output_are_shown() -> None:
    found = results("[print(f'line {n}', file=sys.stderr) for n in range(100)]; sys.exit(3)")
    assert found["xla"] == "78: the process ended with 3; line 95; line 96; line 97; line 98; line 99"


def test_warnings_of_probes_that_passed_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    script = "[report(name, found='right') or print('ptxas is too old', file=sys.stderr) for name in names]"
    with caplog.at_level(logging.WARNING):
        assert set(results(script).values()) == {"right"}
    assert caplog.messages == ["ptxas is too old"]
