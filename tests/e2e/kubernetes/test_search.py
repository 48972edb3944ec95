"""A search by several pods, whose study is in the stack's PostgreSQL."""

import re
from collections import Counter

import pytest

from tests.support.e2e.cluster import Pod, RunningJob, Submit
from tests.support.e2e.endings import kill
from tests.support.e2e.port_forward import tracking
from tests.support.kubernetes.manifests import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800), pytest.mark.usefixtures("node")]
WORKERS, TRIALS = 3, 12
OPTIONS = f"--trials {TRIALS} --set epochs=4 --checkpoint-every 5"
PARENT = "mlflow.parentRunId"


def has_trial(job: RunningJob, index: int) -> bool:
    """Return whether a pod of this index has begun a trial."""
    return re.search(rf"trial \d+ of {TRIALS}\b", job.output(index)) is not None


def test_pods_share_a_study_and_one_that_is_killed_loses_no_trial(submit: Submit, data: str, prefix: str) -> None:
    with submit("search", f"--data {data} {OPTIONS}", WORKERS=str(WORKERS)) as job:

        def is_in_a_trial(pod: Pod) -> bool:
            return "epoch 1 of 4" in pod.output and all(has_trial(job, index) for index in range(WORKERS))

        victim = job.await_pod(is_in_a_trial, "a trial in each pod", 600)
        kill(victim)
        assert job.await_end(1200).condition == "Complete", job.output()
        codes = {index: [code for i, code in job.codes if i == index] for index in range(WORKERS)}
        assert codes == {index: [137, 0] if index == victim.index else [0] for index in range(WORKERS)}
        assert any("has lost its process and is continued here" in job.output(index) for index in range(WORKERS))
        secret = (ROOT / "k8s" / "stack" / "search-database.secret").read_text().strip().split("=")[1]
        assert not any(secret in job.output(index) for index in range(WORKERS))
        summary = max(job.summaries().values(), key=lambda found: int(found["complete"] + found["pruned"]))
        assert (summary["study"], summary["trials"], summary["running"]) == (job.name, TRIALS, 0)
        assert summary["complete"] + summary["pruned"] == TRIALS
        assert_runs(prefix, job.name, Counter(FINISHED=summary["complete"], KILLED=summary["pruned"]))


def assert_runs(prefix: str, study: str, ended: "Counter[str]") -> None:
    """There are one finished run of the study, and one run of each trial, below it."""
    with tracking() as client:
        experiment = client.get_experiment_by_name(f"{prefix}/search")
        assert experiment is not None
        runs = list(client.search_runs([experiment.experiment_id]))
    [parent] = [run for run in runs if PARENT not in run.data.tags]
    assert (parent.info.run_name, parent.info.status) == (study, "FINISHED")
    trials = [run for run in runs if run.data.tags.get(PARENT) == parent.info.run_id]
    assert sorted(run.info.run_name for run in trials) == sorted(f"{study}-{number + 1}" for number in range(TRIALS))
    assert Counter(run.info.status for run in trials) == +ended
