"""`make submit`, `make wait`: what they render, and what they do with a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes.api import Api, served
from tests.support.kubernetes.manifests import JOBS, OVERLAYS, Object, pod
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


def test_processes_of_a_search_are_counted_by_the_job_alone() -> None:
    spec = rendered(JOB="search", WORKERS="7")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (7, 7)
    assert "WORKERS" not in str(spec["template"]["spec"]["containers"][0]["env"])


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


def test_how_a_pod_has_ended_is_shown_once_if_the_job_fails_later(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="predict")
    ended = {"terminated": {"exitCode": 65, "message": "no image\n"}}
    status = {"phase": "Failed", "containerStatuses": [{"state": ended}]}
    api.pods = [{"metadata": {"name": "predict-0-x"}, "status": status}]
    api.conditions = [{"type": "Failed", "status": "True", "message": "exit code 65 matched FailJob"}]
    api.done_at = 2
    done = run("wait", kubeconfig, JOB="predict")
    assert done.returncode == 1
    assert done.stderr.count("predict-0-x ended with 65") == 1


def test_what_holds_a_job_up_is_shown_once(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="preprocess")
    name = api.jobs[0]["metadata"]["name"]
    api.done_at = 3
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: Insufficient cpu."}
    pulling = {"waiting": {"reason": "ErrImagePull", "message": "dogbreed/train: not found"}}
    api.pods = [
        {"metadata": {"name": f"{name}-0-x"}, "status": {"phase": "Pending", "conditions": [unschedulable]}},
        {"metadata": {"name": f"{name}-1-y"}, "status": {"phase": "Pending", "conditions": [unschedulable]}},
        {
            "metadata": {"name": f"{name}-2-z"},
            "status": {"phase": "Pending", "containerStatuses": [{"state": pulling}]},
        },
        {
            "metadata": {"name": f"{name}-3-v"},
            "status": {"phase": "Failed", "reason": "Evicted", "message": "Usage of EmptyDir volume exceeds the limit"},
        },
    ]
    api.events = [{"reason": "FailedCreate", "message": f'pods "{name}-2-abc" is forbidden: failed quota: cpu'}]
    done = run("wait", kubeconfig, JOB="preprocess")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[1:] == [
        f"{name}-0-x cannot be scheduled: 0/1 nodes are available: Insufficient cpu.",
        f"{name}-2-z: ErrImagePull: dogbreed/train: not found",
        f"{name}-3-v: Evicted: Usage of EmptyDir volume exceeds the limit",
        'FailedCreate: pods "its pod" is forbidden: failed quota: cpu',
    ]


@pytest.mark.parametrize("sign", ["not ready", "overdue"])
def test_a_lost_node_is_named_with_the_commands_that_free_its_pod(sign: str, api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="train")
    meta: Object = {"name": "train-x"} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if sign == "overdue" else {})
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {
        "phase": "Running",
        "containerStatuses": [{"state": {"running": {}}}],
        "conditions": [ready] if sign == "not ready" else [],
    }
    api.pods = [{"metadata": meta, "spec": {"nodeName": "node7"}, "status": status}]
    done = run("wait", kubeconfig, JOB="train")
    assert "train-x: its node node7 does not respond" in done.stderr
    assert "kubectl taint node node7 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute" in done.stderr
    assert "kubectl delete node node7" in done.stderr


def test_a_suspended_job_is_said_to_be_so_also_without_permission_to_see_more(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="train", OVERLAY="cluster")
    api.jobs[0]["metadata"]["uid"] = "1"
    api.spec, api.forbidden = {"suspend": True}, {"events"}
    done = run("wait", kubeconfig, JOB="train")
    assert done.returncode == 0, done.stderr
    assert "suspended: it waits in the queue dogbreed: Kueue has not looked at it" in done.stderr


def test_an_outage_of_the_cluster_is_waited_for(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="preprocess")
    api.outages = {1}
    done = run("submit", kubeconfig, JOB="train", AFTER="preprocess")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the cluster does not respond, looking again") == 1
    assert len(api.jobs) == 2


def test_the_end_of_a_pod_is_told_without_the_lines_of_tensorflow(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="train")
    api.conditions = [{"type": "Failed", "status": "True", "message": "too many"}]
    noise = "WARNING: All log messages before absl::InitializeLog() is called\nI0000 00:00:1.2 33 port.cc:153] oneDNN\n"
    ends = [
        {"exitCode": 137, "reason": "OOMKilled", "message": noise},
        {"exitCode": 78, "reason": "Error", "message": f"{noise}too large for 8 GiB\n"},
    ]
    api.pods = [
        {"metadata": {"name": f"train-{n}"}, "status": {"containerStatuses": [{"state": {"terminated": end}}]}}
        for n, end in enumerate(ends)
    ]
    init = {"initContainerStatuses": [{"state": {"terminated": {"exitCode": 1, "message": "no route"}}}]}
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]}
    api.pods.append({"metadata": {"name": "train-2"}, "status": init | waiting})
    done = run("wait", kubeconfig, JOB="train")
    assert done.returncode == 1
    assert done.stderr.splitlines()[2:] == [
        "train-0 ended with 137 (OOMKilled)",
        "train-1 ended with 78",
        "  too large for 8 GiB",
        "train-2 ended with 1",
        "  no route",
    ]


def test_a_job_that_is_called_like_a_kind_is_not_mistaken_for_a_newer_one(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="fetch")
    api.jobs[0]["metadata"]["name"] = "fetch"
    api.done_at = 3
    done = run("wait", kubeconfig, JOB="fetch")
    assert done.stdout == "fetch is complete\n"


def test_logs_of_pods_that_are_gone_are_missing_at_once(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="train")
    api.jobs[0]["status"] = {"conditions": api.conditions}
    done = run("logs", kubeconfig, JOB="train")
    assert done.returncode == 75
    assert "are deleted, and their logs" in done.stderr


def test_logs_of_a_job_in_a_queue_are_not_called_deleted(api: Api, kubeconfig: Path) -> None:
    run("submit", kubeconfig, JOB="train")
    api.jobs[0]["status"] = {"conditions": [{"type": "Suspended", "status": "True"}]}
    assert "are deleted" not in run("logs", kubeconfig, JOB="train").stderr


def test_a_job_whose_creation_had_no_response_is_created_once(api: Api, kubeconfig: Path) -> None:
    api.lost_responses = 1
    done = run("submit", kubeconfig, JOB="train")
    assert done.returncode == 0, done.stderr
    assert "the cluster does not respond, looking again" in done.stderr
    assert len(api.jobs) == 1


@pytest.mark.parametrize("job", ["train", "train-multiworker"])
def test_a_job_that_would_begin_anew_in_each_pod_is_refused(job: str) -> None:
    done = run("submit", JOB=job, ARGS="--restart", DRY_RUN="1")
    assert done.returncode == 2
    assert "--restart would discard all progress" in done.stderr


def test_an_open_quotation_is_a_usage_error() -> None:
    done = run("submit", JOB="train", ARGS="--recipe 'x", DRY_RUN="1")
    assert done.returncode == 2
    assert "No closing quotation" in done.stderr


def test_namespace_and_priority_are_options() -> None:
    found = rendered(JOB="train", NAMESPACE="team-b", PRIORITY="high")
    assert found["metadata"]["namespace"] == "team-b"
    assert found["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "dogbreed-high"
    assert pod(found)["spec"]["priorityClassName"] == "dogbreed-high"


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
