"""jobs.train killed, stopped, crowded and cut off from MLflow; `make faults` does it at many more moments."""

from pathlib import Path

import pytest

from tests.support.faults import mlflow_outages, training_kills
from tests.support.faults.mlflow_outages import Outage
from tests.support.faults.training_site import TrainingSite
from tests.support.watched_job import Kill

pytestmark = pytest.mark.timeout(900)  # many processes a test, slow on a busy machine; each attempt has its own limit

SEED = 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> TrainingSite:
    return TrainingSite(tmp_path_factory.mktemp("training"))


@pytest.mark.parametrize("times", [3, pytest.param(5, marks=pytest.mark.long)])
def test_killed_several_times_a_training_ends_as_one_that_was_not(site: TrainingSite, times: int) -> None:
    row = training_kills.at_steps(site, training_kills.random_steps(times, 12, SEED), chain=times)
    assert row.problems == []
    assert row.seen["steps done twice"] > 0


@pytest.mark.long
def test_killed_with_a_teacher_it_ends_as_one_that_was_not(tmp_path: Path) -> None:
    site = TrainingSite(tmp_path, taught=True)
    row = training_kills.at_steps(site, [Kill(13), Kill(10)], chain=2)
    assert row.problems == []
    assert row.seen["steps done twice"] > 0


@pytest.mark.long
def test_killed_while_a_checkpoint_is_written_it_goes_on_from_the_one_before(site: TrainingSite) -> None:
    writes = training_kills.checkpoint_writes(site)
    first_call, _ = writes[len(writes) // 2]
    assert training_kills.in_checkpoints(site, [Kill(first_call, after=True)]).problems == []


@pytest.mark.long
def test_killed_at_calls_to_its_checkpoints_it_goes_on(site: TrainingSite) -> None:
    assert training_kills.in_checkpoints(site, training_kills.checkpoint_calls(site, 3, SEED)).problems == []


def test_a_damaged_checkpoint_costs_one_interval(site: TrainingSite) -> None:
    row = training_kills.damaged(site, training_kills.DAMAGES[1:2], training_kills.FILES[:1])
    assert row.problems == []


def test_a_second_holder_of_a_job_key_is_sent_away(site: TrainingSite) -> None:
    assert training_kills.two_holders(site, 1).problems == []


def test_stopped_in_a_step_it_loses_none(site: TrainingSite) -> None:
    row = training_kills.stopped(site, [30])
    assert row.problems == []
    assert row.seen["steps done twice"] == 0


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.long)])
def test_stopped_in_its_imports_it_ends_with_143(site: TrainingSite, again: bool) -> None:
    row = training_kills.terminated(site, [3.0], again)
    assert row.problems == []
    assert row.exit_codes[training_kills.STOPPED] == 1


@pytest.mark.long
def test_mlflow_may_leave_for_a_second_and_a_killed_training_goes_on_from_its_checkpoints_alone(
    site: TrainingSite,
) -> None:
    with mlflow_outages.service(site) as service:
        assert mlflow_outages.outage(service, Outage("middle", "reset", 1.0)).problems == []
        assert mlflow_outages.lost_disk(service).problems == []
