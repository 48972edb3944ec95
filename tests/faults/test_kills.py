"""jobs.preprocess killed by SIGKILL and started again; `make faults` does it at every call and 200 random moments.

Each test has a short form; more kills of the same kind are marked long.
"""

import pytest

from tests.support.attempt import KILLED
from tests.support.faults import kills
from tests.support.faults.preprocess_sites import BucketSite, FolderSite
from tests.support.faults.rows import clean_run

pytestmark = pytest.mark.timeout(900)  # many processes a test, slow on a busy machine; each attempt has its own limit

SEED = 0
LONG = pytest.mark.long


def test_a_clean_run_writes_each_photo_once_or_counts_it_as_left_out(folder: FolderSite) -> None:
    assert clean_run(folder).problems == []


def test_killed_around_a_commit_in_a_folder_it_finishes_byte_identical(folder: FolderSite) -> None:
    row = kills.at_calls(folder, kills.commits(folder))
    assert row.problems == []
    assert (row.attempts, row.recovered) == (6, 6)


@pytest.mark.parametrize("puts", [1, pytest.param(2, marks=LONG)])
def test_killed_inside_a_put_it_leaves_nothing_half_written_that_a_reader_sees(folder: FolderSite, puts: int) -> None:
    assert kills.inside_puts(folder, kills.every_moment(puts)).problems == []


@pytest.mark.parametrize("chosen", [slice(None, None, 2), pytest.param(slice(None), marks=LONG)], ids=["two", "all"])
def test_killed_after_a_commit_in_a_bucket_it_finishes_byte_identical(bucket_site: BucketSite, chosen: slice) -> None:
    after = [kill for kill in kills.commits(bucket_site) if kill.after][chosen]  # of a shard, a part, the manifest
    row = kills.at_calls(bucket_site, after)
    assert row.problems == []
    assert (row.attempts, row.recovered) == (len(after), len(after))


@pytest.mark.parametrize("count", [3, pytest.param(10, marks=LONG)])
def test_killed_at_random_moments_in_a_folder_it_finishes_byte_identical(folder: FolderSite, count: int) -> None:
    row = kills.at_random(folder, count, SEED)
    assert row.problems == []
    assert row.exit_codes[KILLED] == count


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=LONG)])
def test_killed_at_random_moments_of_committing_to_a_folder_it_finishes_byte_identical(
    folder: FolderSite, count: int
) -> None:
    row = kills.at_random(folder, count, SEED, committing=True)
    assert row.problems == []
    assert row.exit_codes[KILLED] == count


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=LONG)])
def test_killed_at_random_moments_of_committing_to_a_bucket_it_finishes_byte_identical(
    bucket_site: BucketSite, count: int
) -> None:
    row = kills.at_random(bucket_site, count, SEED, committing=True)
    assert row.problems == []
    assert row.exit_codes[KILLED] == count


def test_the_same_dataset_comes_from_a_folder_and_from_a_bucket(folder: FolderSite, bucket_site: BucketSite) -> None:
    assert folder.clean.objects == bucket_site.clean.objects
