"""Several jobs.preprocess at one prefix at once; `make faults` does twenty rounds, in a bucket too."""

import pytest

from tests.support.faults import writers
from tests.support.faults.preprocess_sites import FolderSite

pytestmark = pytest.mark.timeout(900)  # many processes a test, slow on a busy machine; each attempt has its own limit


ROUNDS = [1, pytest.param(3, marks=pytest.mark.long)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_three_writers_with_the_same_options_all_succeed_and_write_what_one_writes(
    folder: FolderSite, rounds: int
) -> None:
    row = writers.same_options(folder, rounds)
    assert row.problems == []
    assert row.exit_codes == {0: 3 * rounds}


@pytest.mark.parametrize("rounds", ROUNDS)
def test_of_three_writers_with_different_options_one_succeeds_and_the_others_end_with_65(
    folder: FolderSite, rounds: int
) -> None:
    row = writers.different_options(folder, rounds)
    assert row.problems == []
    assert row.exit_codes == {0: rounds, 65: 2 * rounds}


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long), 3]
)
def test_any_number_of_workers_with_fixed_shares_leaves_what_one_leaves(folder: FolderSite, workers: int) -> None:
    assert writers.fixed_shares(folder, workers).problems == []
