"""Whatever the environment of a job holds: what it depends on is right, and what is overridden is named."""

import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import _environment, _variables
from tests.support import cli_reference

ROOT = Path(__file__).parents[2]
# a job that imports nothing heavy
JOB = """
import os, sys, time
from contextlib import suppress
from jobs._cli import job
from dogbreed.core.resources import cores

@job("small")
def main():
    with open(sys.argv[1], "wb", 0) as file, suppress(OSError):
        os.write(2, b"printed by a library")
    assert cores() > 0
    time.sleep(float(sys.argv[2]))
    return {"file": os.stat(sys.argv[1]).st_size}

main([])
"""


def run_small_job(
    tmp_path: Path, shell: str, seconds: float = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a small job by a shell command, in which `job` stands for it."""
    script = f'job() {{ exec "{sys.executable}" -c "$JOB" "{tmp_path}/file" {seconds}; }}\n{shell}'
    environment = {**os.environ, "JOB": JOB, **environment}
    command = ["env", "--default-signal=HUP", "bash", "-c", script]  # tests that were started by nohup ignore it
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("redirection", "code", "stdout", "stderr"),
    [
        ("2>&-", 0, '{"file": 0}', ""),
        (">&-", 0, "", 'its summary is: {"file": 0}'),
        ("<&- >&- 2>&-", 0, "", ""),
        (">/dev/full", 75, "", "cannot be written to stdout"),
        ("2>/dev/full", 0, '{"file": 0}', ""),
        ("| true; exit ${PIPESTATUS[0]}", 75, "", "Broken pipe"),
    ],
)
def test_a_job_does_its_work_with_streams_that_are_closed_or_full(
    tmp_path: Path, redirection: str, code: int, stdout: str, stderr: str
) -> None:
    done = run_small_job(tmp_path, f"job {redirection}")
    assert (done.returncode, done.stdout.strip()) == (code, stdout), done.stderr
    assert stderr in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").stat().st_size == 0, "what libraries print is in no file of the job"


@pytest.mark.parametrize(("before", "code"), [("", 143), ("trap '' HUP;", 0)], ids=["terminal", "nohup"])
def test_a_closed_terminal_stops_a_job_unless_it_was_started_to_survive_that(
    tmp_path: Path, before: str, code: int
) -> None:
    done = run_small_job(
        tmp_path, f"{before} job & while [ ! -e {tmp_path}/file ]; do sleep 0.05; done; kill -HUP $!; wait $!", 0.5
    )
    assert done.returncode == code, done.stderr
    assert ("stopped by SIGHUP" in done.stderr) == (code == 143)


def test_odd_variables_of_libraries_are_named_and_no_traceback(tmp_path: Path) -> None:
    odd = dict.fromkeys((*_environment.JOBLIB_VARIABLES, *_environment.KERAS_VARIABLES, "LOKY_MAX_CPU_COUNT"), "odd")
    done = run_small_job(
        tmp_path, "job", **odd, OMP_NUM_THREADS="4,2", OPENBLAS_NUM_THREADS="0", DOGBREED_TRAIN_RECEIPE=""
    )
    assert done.returncode == 0, done.stderr
    for name in (*odd, "OPENBLAS_NUM_THREADS"):
        assert f"{name}=" in done.stderr
    assert "OMP_NUM_THREADS" not in done.stderr, "a number for each nested level is valid"
    assert "DOGBREED_TRAIN_RECEIPE is no variable" in done.stderr
    assert "did you mean DOGBREED_TRAIN_RECIPE?" in done.stderr


def override(monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[list[str], dict[str, str]]:
    """Return the messages, and the environment afterwards, of a job that starts in this environment."""
    own = {"HOME": "/root", "USER": "me", "KERAS_HOME": "/nowhere", **environment}
    monkeypatch.setattr(os, "environ", dict(own))
    return _environment.override(), dict(os.environ)


def test_an_ordinary_environment_is_no_reason_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "2", "LOKY_MAX_CPU_COUNT": " 3 "}
    messages, after = override(monkeypatch, **given)
    assert messages == []
    assert given.items() <= after.items()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"backend": "torch"}', "backend 'torch'"),
        ('{"floatx": "float16"}', "floatx 'float16'"),
        ('{"image_data_format": "channels_first"}', "image_data_format 'channels_first'"),
        ('{"epsilon": 1}', "epsilon 1"),
        ('{"nnx_enabled": true}', "nnx_enabled True"),
        ("{", "line 1"),
        ("[]", "list"),
    ],
)
def test_settings_of_keras_are_ignored_but_not_the_weights_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, named: str
) -> None:
    (tmp_path / "keras.json").write_text(content)
    messages, after = override(monkeypatch, KERAS_HOME=str(tmp_path), KERAS_BACKEND="jax")
    assert [message.partition(" is ignored")[0] for message in messages] == [
        "KERAS_BACKEND=jax",
        f"{tmp_path}/keras.json",
    ]
    assert named in messages[1]
    assert after["KERAS_BACKEND"] == "tensorflow"
    assert not Path(after["KERAS_HOME"], "keras.json").exists()
    (tmp_path / "models" / "weights.h5").touch()
    assert Path(after["KERAS_HOME"], "models", "weights.h5").exists()


def test_keras_own_settings_are_used_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}
    (tmp_path / "keras.json").write_text(json.dumps(usual))
    messages, after = override(monkeypatch, KERAS_HOME=str(tmp_path))
    assert (messages, after["KERAS_HOME"]) == ([], str(tmp_path))


def test_a_user_without_name_and_home_gets_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    messages, after = override(monkeypatch, HOME="", USER="")
    assert len(messages) == 3
    assert after["HOME"] == _environment.NO_HOME
    assert after["USER"] == f"uid-{os.getuid()}"
    assert override(monkeypatch, HOME="/tmp")[1]["HOME"] == "/tmp"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("DOGBREED_PREPROCES_OUT", "DOGBREED_PREPROCESS_OUT"),
        ("DOGBREED_WORKER", "DOGBREED_WORKERS"),
        ("DOGBREED_FOO", ""),
    ],
)
def test_a_variable_that_no_job_has_is_named_with_the_nearest_one(given: str, meant: str) -> None:
    (message,) = _environment.unknown_variables({given: "1", "PATH": "/bin"})
    assert message.startswith(f"{given} is no variable of any job")
    assert (f"did you mean {meant}?" in message) if meant else ("did you mean" not in message)


def test_the_variables_of_every_job_are_known_to_all() -> None:
    assert cli_reference.VARIABLES.read_text() == cli_reference.render_variables(), "run: make docs"
    assert {"DOGBREED_TRAIN_SET", "DOGBREED_PREDICT_FORMAT", "DOGBREED_FETCH_FROM"} <= set(_variables.OPTIONS)


def test_no_manual_manifest_or_module_uses_a_variable_that_jobs_would_call_misspelt() -> None:
    pages = [
        ROOT / ".env.example",
        *ROOT.glob("*.md"),
        *ROOT.glob("docker-compose*.yml"),
        ROOT / "tests" / "conftest.py",
    ]
    for folder, suffixes in (
        ("docs", "md"),
        ("k8s", "yaml env py"),
        ("dogbreed", "py"),
        ("docker", "sh py"),
        ("jobs", "py"),
    ):
        pages += [path for suffix in suffixes.split() for path in (ROOT / folder).rglob(f"*.{suffix}")]
    used = {name for page in pages for name in re.findall(r"\bDOGBREED_[A-Z0-9_]*[A-Z0-9]\b", page.read_text())}
    assert len(used) > 50
    assert list(_environment.unknown_variables(dict.fromkeys(used, ""))) == []
