"""GPUs that TensorFlow sees: faked ones of every age, and the probes, on CPU devices."""

import json
import re
from typing import Any

import pytest
import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported
from dogbreed.workflows import gpu_checks, gpu_probe, probe_process
from tests.support.gpus import Capability, fake_gpus
from tests.support.warm_job import run

TURING, AMPERE, HOPPER, BLACKWELL = (7, 5), (8, 6), (9, 0), (12, 0)
BUILT = ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]  # of TensorFlow 2.21


def fake_build(monkeypatch: pytest.MonkeyPatch, capabilities: list[str] | None) -> None:
    """Let TensorFlow have been built for these compute capabilities, None for a build that does not tell."""
    info = {"cuda_compute_capabilities": capabilities} if capabilities else {}
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: info)


@pytest.mark.parametrize(
    ("capability", "built"),
    [
        (TURING, BUILT),  # runs code for sm_70
        (AMPERE, BUILT),
        (HOPPER, BUILT),
        (None, BUILT),
        (BLACKWELL, None),  # a build that does not tell
        ((10, 3), ["sm_90a", "sm_100f"]),
    ],
)
def test_a_gpu_with_code_in_the_build_is_supported(
    capability: Capability | None, built: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpus(monkeypatch, capability, capability)
    fake_build(monkeypatch, built)
    assert gpu_checks.check_gpus(2, compute=False) == "TensorFlow sees 2: Faked, Faked"


@pytest.mark.parametrize(
    ("capability", "built", "message"),
    [
        ((7, 0), BUILT, "has compute capability 7.0, 7.5 is the lowest supported"),
        ((6, 1), None, "has compute capability 6.1, 7.5 is the lowest supported"),
        ((10, 0), BUILT, "no code for sm_100, only sm_60, sm_70, sm_80, sm_89, compute_90"),
        (BLACKWELL, BUILT, "has compute capability 12.0, and TensorFlow"),
        (TURING, ["sm_80"], "no code for sm_75, only sm_80"),
    ],
)
def test_a_gpu_that_is_too_old_or_without_code_in_the_build_is_unsupported(
    capability: Capability, built: list[str] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpus(monkeypatch, None, capability)
    fake_build(monkeypatch, built)
    with pytest.raises(EnvironmentUnsupported, match=re.escape(message)) as error:
        gpu_checks.check_gpus(2, compute=False)
    assert str(error.value).startswith("GPU:1 (Faked)")


def test_the_build_of_tensorflow_tells_its_compute_capabilities_or_nothing() -> None:
    built = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", BUILT)
    assert gpu_checks._has_code(HOPPER, built)


def test_a_gpu_of_a_container_that_tensorflow_does_not_see_is_unsupported_and_one_of_a_host_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_gpus(monkeypatch)
    monkeypatch.setattr(gpu_checks, "gpu_count", lambda: 1)
    monkeypatch.setattr(gpu_checks, "required_gpu_count", lambda: 1)
    with pytest.raises(EnvironmentUnsupported, match="0 of 1 GPUs"):
        gpu_checks.check_gpus(None)
    unused = f"none of 1, TensorFlow runs on the CPU; {gpu_checks.GUIDE}"
    assert gpu_checks.check_gpus(0) == unused
    monkeypatch.setattr(gpu_checks, "required_gpu_count", lambda: 0)
    assert gpu_checks.check_gpus(None) == unused


def test_the_error_for_too_few_gpus_says_why_for_none_and_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus(monkeypatch)
    with pytest.raises(EnvironmentUnsupported, match=r"0 of 4 GPUs; use the image .* --gpus 0; docs/operations\.md"):
        gpu_checks.check_gpus(4)
    fake_gpus(monkeypatch, AMPERE, AMPERE, AMPERE)
    with pytest.raises(EnvironmentUnsupported, match=r"3 of 4 GPUs; nvidia-smi .* MIG mode .* --gpus 3$"):
        gpu_checks.check_gpus(4, compute=False)


def test_a_gpu_that_tensorflow_lists_but_does_not_use_is_no_silent_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus(monkeypatch, HOPPER)
    with pytest.raises(EnvironmentUnsupported, match=r"cannot use GPU:0 and falls back to .*CPU:0"):
        gpu_checks.check_gpus(None)


def test_gpus_that_a_job_has_hidden_are_counted_but_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus(monkeypatch, HOPPER, BLACKWELL, visible=1)
    assert gpu_checks.check_gpus(2, compute=False).startswith("TensorFlow sees 2")


@pytest.mark.parametrize(
    ("capabilities", "more"),
    [
        ((TURING,), []),
        ((AMPERE,), ["bfloat16"]),
        ((HOPPER, HOPPER), ["bfloat16", "all-reduce"]),
        ((HOPPER, TURING), ["all-reduce"]),
    ],
)
def test_the_probes_are_those_that_the_gpus_can_compute(
    capabilities: tuple[Capability, ...], more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpus(monkeypatch, *capabilities)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        probe_process, "run_probes", lambda devices, names: asked.update(devices=devices, names=names) or {}
    )
    gpu_checks.probe_gpus()
    assert asked["devices"] == [f"GPU:{number}" for number in range(len(capabilities))]
    assert sorted(asked["names"]) == sorted(["matmul", "elementwise", "convolution", "xla", *more])


def test_without_a_gpu_there_is_nothing_to_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpus(monkeypatch)
    assert gpu_checks.probe_gpus() == {}


def test_every_probe_is_right_on_two_devices() -> None:
    done = run("tests.support.probe_cpus")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["probe"] for result in found] == [*gpu_probe.PROBES, gpu_probe.ALL_REDUCE]
    assert all(result["found"].startswith("right on CPU:0, CPU:1") for result in found), found


def test_the_probes_are_a_command_that_reports_errors_and_goes_on() -> None:
    done = run("dogbreed.workflows.gpu_probe", "CPU:7", "matmul", "elementwise")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["probe"] for result in found] == ["matmul", "elementwise"]
    assert all("cannot use CPU:7" in result["error"] for result in found)


def test_a_wrong_result_and_an_error_of_tensorflow_are_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tf.Tensor:
        raise tf.errors.InternalError(None, None, "Blas GEMM launch failed")

    monkeypatch.setitem(gpu_probe.PROBES, "matmul", gpu_probe.Probe(lambda: tf.ones(3), 4.0))
    with pytest.raises(EnvironmentUnsupported, match="matmul on CPU:0 is 3 instead of 4"):
        gpu_probe.run_probe("matmul", ["CPU:0"])
    monkeypatch.setitem(gpu_probe.PROBES, "matmul", gpu_probe.Probe(fail, 4.0))
    with pytest.raises(EnvironmentUnsupported, match=r"matmul on CPU:0: InternalError: Blas GEMM .* check the driver"):
        gpu_probe.run_probe("matmul", ["CPU:0"])
