"""`make submit`, `make wait`: what they render, and what they do with a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes.api import Api, served
from tests.support.kubernetes.manifests import JOBS, OVERLAYS, pod
from tests.support.kubernetes.submit import rendered, run


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Api]:
    with served(kubeconfig) as found:
        yield found


@pytest.mark.parametrize(("job", "overlay"), [*((job, "local") for job in JOBS), *(("train", o) for o in OVERLAYS)])
def test_a_dry_run_prints_the_job_and_needs_no_cluster(job: str, overlay: str) -> None:
    found = rendered(JOB=job, OVERLAY=overlay, ARGS="--set 'note=two words'")
    assert found["kind"] == "Job"
    assert found["metadata"]["name"].startswith(f"{job}-")
    assert pod(found)["spec"]["containers"][0]["args"][1:] == ["--set", "note=two words"]
    assert found["metadata"]["annotations"]["dogbreed/arguments"] == "--set 'note=two words'"
    assert pod(found)["metadata"]["labels"]["app.kubernetes.io/instance"] == found["metadata"]["name"]


@pytest.mark.parametrize("job", ["preprocess", "train-multiworker", "predict"])
def test_the_number_of_workers_is_set_everywhere(job: str) -> None:
    spec = rendered(JOB=job, WORKERS="7")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (7, 7)
    variables = spec["template"]["spec"]["containers"][0]["env"]
    assert [v["value"] for v in variables if v["name"].endswith("WORKERS")] == ["7"]


def test_only_indexed_jobs_have_workers() -> None:
    done = run("submit", JOB="train", WORKERS="2", DRY_RUN="1")
    assert done.returncode == 2
    assert "one worker" in done.stderr


def test_twice_at_the_same_moment_are_two_jobs(api: Api, kubeconfig: Path) -> None:
    for _ in range(2):
        done = run("submit", kubeconfig, JOB="train", ARGS="--recipe simple-64")
        assert done.returncode == 0, done.stderr
    first, second = api.jobs
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert pod(first)["spec"]["containers"][0]["args"] == ["jobs.train", "--recipe", "simple-64"]


def test_a_job_is_created_once_the_one_before_it_is_done(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="preprocess")
    done = run("submit", kubeconfig, JOB="train", AFTER="preprocess")
    assert done.returncode == 0, done.stderr
    assert api.looks == 2, "the first time it was not done yet"
    assert [job["metadata"]["labels"]["app.kubernetes.io/component"] for job in api.jobs] == ["preprocess", "train"]


def test_no_job_is_created_when_the_one_before_it_has_failed_and_the_reason_is_shown(
    api: Api, kubeconfig: Path
) -> None:
    run("submit", kubeconfig, JOB="preprocess")
    api.conditions = [{"type": "Failed", "status": "True", "message": "exit code 65 matched FailJob"}]
    ended = {"terminated": {"exitCode": 65, "message": "images.tar is not the published one\n"}}
    api.pods = [{"metadata": {"name": "preprocess-0-x"}, "status": {"containerStatuses": [{"state": ended}]}}]
    done = run("submit", kubeconfig, JOB="train", AFTER="preprocess")
    assert done.returncode == 1
    assert "exit code 65 matched FailJob" in done.stderr
    assert "ended with 65" in done.stderr
    assert len(api.jobs) == 1


def test_there_must_be_a_job_to_wait_for(api: Api, kubeconfig: Path) -> None:
    for command in ("wait", "logs"):
        done = run(command, kubeconfig, JOB="train")
        assert done.returncode == 75
        assert "JOB=train" in done.stderr


def test_one_of_several_jobs_is_waited_for_by_its_name(api: Api, kubeconfig: Path) -> None:
    for _ in range(2):
        run("submit", kubeconfig, JOB="train")
    first = api.jobs[0]["metadata"]["name"]
    done = run("wait", kubeconfig, JOB=first)
    assert done.returncode == 0
    assert done.stdout == f"{first} is complete\n"


def test_an_old_cluster_is_refused_before_anything_is_created(kubeconfig: Path) -> None:
    with served(kubeconfig, minor="32+") as old:
        done = run("submit", kubeconfig, JOB="train")
    assert done.returncode == 78
    assert "1.33" in done.stderr
    assert old.jobs == []


@pytest.mark.parametrize("wrong", [{"JOB": "trian"}, {"JOB": "train", "OVERLAY": "cloud"}, {}])
def test_a_wrong_name_is_refused_with_those_that_there_are(wrong: dict[str, str]) -> None:
    done = run("submit", DRY_RUN="1", **wrong)
    assert done.returncode == 2
    assert "Usage: submit.py submit" in done.stderr
