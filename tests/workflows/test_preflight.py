"""The preflight: a real store, a real MLflow database, and everything that can fail."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest

from dogbreed.core.errors import EnvironmentUnsupported, UsageError
from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.tracking import runs
from dogbreed.workflows import gpu_checks, preflight
from jobs.preflight import main
from tests.support.warm_job import run


def test_a_healthy_machine_passes_with_a_table_and_a_summary(tmp_path: Path) -> None:
    done = run(
        "jobs.preflight",
        "--store",
        str(tmp_path / "store"),
        "--memory",
        "0.5",
        MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db",
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert list(summary) == ["clock", "store", "mlflow", "scratch", "memory", "gpu"]
    assert len(re.findall(r"^\w+ +ok  ", done.stderr, re.M)) == len(summary)
    assert not list((tmp_path / "store").rglob("*.*"))


def test_variables_that_name_another_run_are_ignored_and_named_once(tmp_path: Path) -> None:
    foreign = {
        "MLFLOW_RUN_ID": "0" * 32,
        "MLFLOW_EXPERIMENT_ID": "7",
        "MLFLOW_EXPERIMENT_NAME": "foreign",
        "MLFLOW_RUN_CONTEXT": '{"mlflow.parentRunId": "1"}',
        "MLFLOW_ACTIVE_MODEL_ID": "m-1",
    }
    unset = {"_MLFLOW_ACTIVE_MODEL_ID": ""}  # as compose files pass variables that nobody has set
    done = run(
        "jobs.preflight",
        "--store",
        str(tmp_path / "store"),
        **{"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", **foreign, **unset},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"ignored (\w+): a job writes runs of its own", done.stderr)) == sorted(foreign)
    (experiment,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments(
        filter_string="name != 'Default'"
    )
    assert experiment.name == "dogbreed/preflight"


@pytest.mark.parametrize(
    ("options", "environment", "code", "message"),
    [
        (("--gpus", "99"), {}, 78, "of 99 GPUs"),
        (("--memory", "99999"), {}, 78, "raise the container's memory limit"),
        ((), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, 69, "check MLFLOW_TRACKING_URI"),
        ((), {"DOGBREED_SCRATCH_LIMIT": "1Mi"}, 78, "raise the sizeLimit"),
        ((), {"DOGBREED_SCRATCH_LIMIT": "50 GB"}, 2, "DOGBREED_SCRATCH_LIMIT"),
    ],
    ids=["gpu", "memory", "mlflow", "scratch", "limit"],
)
def test_the_first_failed_check_determines_the_exit_code(
    options: tuple[str, ...], environment: dict[str, str], code: int, message: str, tmp_path: Path
) -> None:
    healthy = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    done = run("jobs.preflight", "--store", str(tmp_path / "store"), *options, **{**healthy, **environment})
    assert done.returncode == code
    assert message in done.stderr
    assert f"exit {code}" in done.stderr
    assert len(re.findall(r"^\w+ +ok  ", done.stderr, re.M)) == 5, "the other checks run all the same"


def test_an_operating_system_error_is_a_row_of_the_table() -> None:
    def broken() -> str:
        raise PermissionError("no way in")

    results = preflight.run_checks({"store": broken, "clock": lambda: "fine"})
    assert [(r.check, r.found, getattr(r.error, "exit_code", 0)) for r in results] == [
        ("store", "no way in", 78),
        ("clock", "fine", 0),
    ]


def test_a_store_is_probed_without_a_trace(store: Store) -> None:
    store.put("mine", b"data")
    assert preflight.check_store(store) == f"{store.uri}: put, get, list, delete"
    assert list(store.list()) == ["mine"]


def test_a_missing_bucket_is_a_usage_error(s3: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        preflight.check_store(open_store("s3://no-such-bucket-here/prefix"))


def test_the_clock_of_a_real_server_is_read(bucket: str) -> None:
    assert preflight.check_clock(open_store(f"{bucket}/prefix")).endswith("s off the store's")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_is_unsupported(hours: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"{bucket}/prefix")
    theirs = store.server_time()
    assert theirs is not None
    monkeypatch.setattr(store, "server_time", lambda: theirs + timedelta(hours=hours))
    with pytest.raises(EnvironmentUnsupported, match=rf"this clock is {'[+]' if hours < 0 else '-'}3,[56]\d\d s off"):
        preflight.check_clock(store)


def test_a_folder_has_the_clock_of_this_machine(tmp_path: Path) -> None:
    assert LocalStore(tmp_path).server_time() is None
    assert "same clock" in preflight.check_clock(LocalStore(tmp_path))


def test_a_store_has_a_clock_even_if_the_bucket_is_missing(bucket: str) -> None:
    theirs = open_store("s3://no-such-bucket-here").server_time()
    assert theirs is not None
    assert abs((theirs - datetime.now(UTC)).total_seconds()) < 60


def test_a_job_warns_without_mlflow_and_fails_without_its_store(
    tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        preflight.before_job(LocalStore(tmp_path))
    assert "MLflow at http://127.0.0.1:9 does not respond" in caplog.text
    with pytest.raises(UsageError, match="does not exist"):
        preflight.before_job(LocalStore(tmp_path), open_store("s3://no-such-bucket-here/prefix"))


def test_a_job_fails_if_its_gpus_are_not_visible(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnsupported, match="of 99 GPUs; "):
        preflight.before_job(LocalStore(tmp_path), gpus=99, tracked=False)


def fail(message: str) -> str:
    raise EnvironmentUnsupported(message)


def test_each_probe_of_the_gpus_is_a_row_and_the_first_that_failed_is_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = {"matmul": lambda: "right", "xla": lambda: fail("ended with 134"), "all-reduce": lambda: fail("not run")}
    monkeypatch.setattr(runs, "check_round_trip", lambda prefix: "fine")
    monkeypatch.setattr(gpu_checks, "check_gpus", lambda gpus, compute: f"TensorFlow sees {gpus}")
    monkeypatch.setattr(gpu_checks, "probe_gpus", lambda: probes)
    with pytest.raises(EnvironmentUnsupported, match="ended with 134"):
        main.callback(str(tmp_path), 2, 0.1, "dogbreed")
    assert capsys.readouterr().err.splitlines()[-4:] == [
        "gpu         ok       TensorFlow sees 2",
        "matmul      ok       right",
        "xla         exit 78  ended with 134",
        "all-reduce  exit 78  not run",
    ]


def test_gpus_that_fail_their_check_are_not_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "check_round_trip", lambda prefix: "fine")
    monkeypatch.setattr(gpu_checks, "probe_gpus", lambda: {"matmul": lambda: "right"})
    results = preflight.check_all(str(tmp_path), 99, 0.1, "dogbreed")
    assert [(row.check, row.error is None) for row in results][-2:] == [("memory", True), ("gpu", False)]


@pytest.mark.parametrize("single_process", [True, False])
def test_one_of_several_workers_computes_nothing_before_it_joins_the_others(
    single_process: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = list[bool]()
    monkeypatch.setattr(gpu_checks, "check_gpus", lambda gpus, compute: computed.append(compute) or "")
    preflight.before_job(LocalStore(tmp_path), gpus=1, tracked=False, single_process=single_process)
    assert computed == [single_process]
