"""Several jobs.preprocess at one prefix at once; `make faults` does twenty rounds, in a bucket too."""

import pytest

from tests.faults import writers
from tests.faults.sites import FolderSite

pytestmark = pytest.mark.timeout(900)  # many processes a test, slow on a busy machine; each attempt has its own limit


def test_three_writers_with_the_same_options_all_succeed_and_leave_what_one_leaves(folder: FolderSite) -> None:
    row = writers.same_options(folder, rounds=2)
    assert row.problems == []
    assert row.exit_codes == {0: 6}


def test_of_three_writers_with_different_options_one_succeeds_and_the_others_are_told(folder: FolderSite) -> None:
    row = writers.different_options(folder, rounds=2)
    assert row.problems == []
    assert row.exit_codes == {0: 2, 65: 4}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_with_fixed_shares_leaves_what_one_leaves(folder: FolderSite, workers: int) -> None:
    assert writers.fixed_shares(folder, workers).problems == []
