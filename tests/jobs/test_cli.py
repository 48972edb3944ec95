"""The command lines: help, options, exit codes, SIGTERM."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dogbreed.core import resources, signals
from dogbreed.models import registry
from jobs import _cli
from tests.support.warm_job import run

JOBS = ("fetch", "preprocess", "train", "evaluate", "predict", "compare", "search", "preflight")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("job", JOBS)
def test_help_lists_the_options_without_importing_tensorflow(job: str) -> None:
    code = f"""
import sys, runpy
sys.argv = ["{job}", "--help"]
try:
    runpy.run_module("jobs.{job}", run_name="__main__")
finally:
    assert "tensorflow" not in sys.modules and "mlflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_an_unknown_option_ends_with_2() -> None:
    done = run("jobs.preprocess", "--sizes", "3")
    assert done.returncode == 2
    assert "--sizes" in done.stderr


def test_every_option_can_come_from_the_environment(tmp_path: Path) -> None:
    done = run(
        "jobs.preprocess",
        DOGBREED_PREPROCESS_RAW=str(tmp_path / "nowhere"),
        DOGBREED_PREPROCESS_OUT=str(tmp_path / "out"),
    )
    assert done.returncode == 65
    assert "jobs.fetch" in done.stderr


@pytest.mark.parametrize("job", JOBS)
def test_every_option_has_a_variable_of_its_own_name(job: str) -> None:
    for option in importlib.import_module(f"jobs.{job}").main.params:
        expected = f"DOGBREED_{job}_{option.opts[0].removeprefix('--').replace('-', '_')}".upper()
        automatic = f"DOGBREED_{job}_{option.name}".upper()
        assert expected in (automatic, option.envvar), option.opts


def test_a_job_key_that_could_not_be_a_name_is_refused() -> None:
    done = run("jobs.train", "--data", "nowhere", "--recipe", "simple-64", "--name", "a'b")
    assert done.returncode == 2
    assert "letters, digits" in done.stderr


def test_no_manifest_is_a_reason_to_try_again(tmp_path: Path) -> None:
    for job, *options in (("train", "--recipe", "simple-64"), ("evaluate",)):
        done = run(f"jobs.{job}", "--data", str(tmp_path), *options)
        assert done.returncode == 75
        assert "jobs.preprocess" in done.stderr


def test_an_unknown_recipe_lists_the_known_ones(tmp_path: Path) -> None:
    done = run("jobs.train", "--data", str(tmp_path), "--recipe", "simpel-64")
    assert done.returncode == 2
    assert "larger-128" in done.stderr


def test_workers_that_nobody_named_are_refused(tmp_path: Path) -> None:
    done = run("jobs.train", "--data", str(tmp_path), "--recipe", "simple-64", "--strategy", "multiworker")
    assert done.returncode == 2
    assert "TF_CONFIG" in done.stderr


def test_models_are_listed_without_the_options_of_a_training_and_without_building_them() -> None:
    code = """
import runpy, sys
sys.argv = ["train", "--list-models"]
try:
    runpy.run_module("jobs.train", run_name="__main__")
finally:
    assert not {"keras", "tensorflow"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *table, summary = done.stdout.splitlines()
    models = json.loads(summary)["models"]
    assert list(models) == list(registry.MODELS)
    assert models["simple"] == {"size": 64, "features": 384, "parameters": 1_322_328, "multiply_adds": 74_363_904}
    assert any(line.split()[:4] == ["mobilenet-0.25", "224", "256", "249,384"] for line in table)
    assert len(table) == 2 + len(models)
    assert "Howard et al. 2017, arXiv:1704.04861" in done.stdout


def test_a_training_needs_its_options() -> None:
    done = run("jobs.train", "--recipe", "simple-64")
    assert done.returncode == 2
    assert "--data" in done.stderr


@pytest.mark.parametrize(("seeds", "said"), [("0,0", "a seed twice"), ("0,x", "not a valid int"), ("-1", "not in the")])
def test_seeds_are_different_numbers(seeds: str, said: str) -> None:
    done = run("jobs.train", "--data", "nowhere", "--recipe", "simple-64", "--seeds", seeds)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_weights_that_nobody_publishes_are_not_fetched(tmp_path: Path) -> None:
    done = run("jobs.fetch", "--raw", str(tmp_path), "--weights", "simple")
    assert (done.returncode, "ImageNet" in done.stderr) == (2, True), done.stderr


def test_an_unwritable_place_is_impossible_here(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(
        "jobs.fetch", "--source", "synthetic", "--classes", "1", "--per-class", "5", "--raw", f"{tmp_path}/file/raw"
    )
    assert done.returncode == 78
    assert "Not a directory" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), 75),
        (TimeoutError("timed out"), 75),
        (OSError(errno.EADDRINUSE, "port in use"), 75),
        (OSError(errno.ENOSPC, "disk full"), 75),
        (PermissionError(errno.EACCES, "denied"), 78),
        (OSError(errno.EROFS, "read-only"), 78),
    ],
)
def test_an_error_of_the_system_is_retryable_where_it_may_pass(error: OSError, code: int) -> None:
    @_cli.job("failing")
    def failing() -> dict[str, object]:
        raise error

    with pytest.raises(SystemExit) as ended:
        failing.main([], standalone_mode=False)
    assert ended.value.code == code


@pytest.mark.parametrize(("gpus", "given", "level"), [(0, None, "2"), (1, None, "1"), (1, "3", "3")])
def test_tensorflow_prints_its_warnings_where_gpus_are_unless_the_user_has_chosen(
    gpus: int, given: str | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict[str, str | None]()

    @_cli.job("small")
    def small() -> dict[str, object]:
        found["level"] = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
        return {}

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # so that it is restored
    if given is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", given)
    monkeypatch.setattr(resources, "gpu_count", lambda: gpus)
    small.main([], standalone_mode=False)
    assert found == {"level": level}


def test_a_signal_before_the_job_begins_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @_cli.job("small")
    def small() -> dict[str, object]:
        raise AssertionError("it has begun")

    def stopped() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    monkeypatch.setattr(resources, "gpu_count", stopped)
    try:
        with pytest.raises(SystemExit) as ended:
            small.main([], standalone_mode=False)
    finally:
        signals.install_handlers()  # forgets the signal
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended.value.code == 143


def test_a_store_that_is_not_there_ends_with_69(tmp_path: Path) -> None:
    done = run(
        "jobs.evaluate",
        "--data",
        "s3://bucket/dogs",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_MAX_ATTEMPTS="1",
    )
    assert done.returncode == 69
    assert "127.0.0.1:9" in done.stderr


def test_sigterm_ends_a_job_with_143(tmp_path: Path) -> None:
    job = [sys.executable, "-m", "jobs.fetch", "--source", "synthetic", "--per-class", "3000", "--raw", str(tmp_path)]
    with subprocess.Popen(job, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert any("drawing images" in line for line in process.stderr or ()), "the job has ended"
        process.send_signal(signal.SIGTERM)  # drawing takes minutes
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM" in errors
    assert not list(tmp_path.iterdir())


def test_fetching_sketches_twice_changes_nothing(tmp_path: Path) -> None:
    options = ("--source", "synthetic", "--classes", "2", "--per-class", "6", "--raw", str(tmp_path / "raw"))
    first = run("jobs.fetch", *options)
    assert json.loads(first.stdout.splitlines()[-1]) == {"raw": str(tmp_path / "raw"), "images": 12, "published": False}
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "raw").iterdir()}
    assert run("jobs.fetch", *options).stdout == first.stdout
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "raw").iterdir()} == before
    assert run("jobs.fetch", *options, "--seed", "1").returncode == 65


def test_mlflow_being_down_is_a_warning_when_preprocessing(sketches: Path, tmp_path: Path) -> None:
    options = ("--source", "synthetic", "--raw", str(sketches), "--out", str(tmp_path / "out"), "--size", "32")
    done = run("jobs.preprocess", *options, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["written"] == 48
    assert "http://127.0.0.1:9" in done.stderr


def test_a_worker_outside_its_number_of_workers_is_refused(sketches: Path, tmp_path: Path) -> None:
    options = ("--source", "synthetic", "--raw", str(sketches), "--out", str(tmp_path / "out"))
    done = run("jobs.preprocess", *options, JOB_COMPLETION_INDEX="3")
    assert done.returncode == 2
    assert "--workers" in done.stderr
