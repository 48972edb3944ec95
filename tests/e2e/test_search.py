"""A search by several containers, whose studies are in the stack's PostgreSQL."""

import shutil
from pathlib import Path

import pytest

from tests.support.e2e.stack import Stack, docker, eventually
from tests.support.faults.search_kills import SearchTeam

pytestmark = pytest.mark.e2e
SETTINGS = {
    "SEARCH_REPLICAS": "2",
    "DOGBREED_SEARCH_STUDY": "shared",
    "DOGBREED_SEARCH_TRIALS": "6",
    "DOGBREED_SEARCH_SET": "epochs=4",
    "DOGBREED_SEARCH_CHECKPOINT_EVERY": "5",
}


def test_containers_share_a_study_and_one_that_is_killed_loses_no_trial(stack: Stack) -> None:
    names = [f"{stack.project}-search-{number}" for number in (1, 2)]
    stack.compose("up", "--detach", "--no-build", "search", **SETTINGS)
    eventually(lambda: "epoch 1 of" in docker("logs", names[0], check=False).stderr, "an epoch of a trial")
    docker("kill", names[0])
    stack.compose("up", "--detach", "--no-build", "search", **SETTINGS)
    assert [docker("wait", name).stdout.strip() for name in names] == ["0", "0"], docker("logs", names[0]).stderr[
        -2000:
    ]
    experiment = stack.tracking.get_experiment_by_name("dogbreed/search")
    assert experiment is not None
    runs = list(stack.tracking.search_runs([experiment.experiment_id]))
    studies = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [(run.info.run_name, run.info.status) for run in studies] == [("shared", "FINISHED")]
    trials = {run.info.run_name: run.info.status for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert sorted(trials) == [f"shared-{number}" for number in range(1, 7)]
    assert set(trials.values()) <= {"FINISHED", "KILLED"}
    secret = "canarysearch"
    assert not any(secret in docker("logs", name).stderr for name in names)


@pytest.mark.long
def test_twenty_kills_lose_no_trial_of_a_study_in_the_stacks_database(
    stack: Stack, dataset: Path, tmp_path: Path
) -> None:
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    host = docker("inspect", "--format", address, stack.container("postgres")).stdout.split()[0]
    shutil.copytree(dataset, tmp_path / "dogs")
    storage = f"postgresql+psycopg://search:canarysearch@{host}/search"
    team = SearchTeam(tmp_path, storage, 40, ("--set", "size=32", "--set", "batch_size=8"), repeat_best=1)
    team.check(team.run(20, team=2, pause=(3.0, 9.0)))
