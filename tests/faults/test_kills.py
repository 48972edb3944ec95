"""jobs.preprocess killed by SIGKILL and started again; `make faults` does it at every call and 200 random moments."""

import pytest

from tests.faults import kills
from tests.faults.attempt import KILLED
from tests.faults.rows import clean_run
from tests.faults.sites import BucketSite, FolderSite

pytestmark = pytest.mark.timeout(900)  # many processes a test, slow on a busy machine; each attempt has its own limit

SEED = 0


def test_a_clean_run_writes_each_photo_once_or_counts_it_as_left_out(folder: FolderSite) -> None:
    assert clean_run(folder).problems == []


def test_killed_around_a_commit_in_a_folder_it_finishes_byte_identical(folder: FolderSite) -> None:
    row = kills.at_calls(folder, kills.commits(folder))
    assert row.problems == []
    assert (row.attempts, row.recovered) == (6, 6)


def test_killed_inside_a_put_it_leaves_nothing_half_written_that_a_reader_sees(folder: FolderSite) -> None:
    assert kills.inside_puts(folder, kills.every_moment(2)).problems == []


def test_killed_after_a_commit_in_a_bucket_it_finishes_byte_identical(bucket_site: BucketSite) -> None:
    row = kills.at_calls(bucket_site, [kill for kill in kills.commits(bucket_site) if kill.after])
    assert row.problems == []
    assert (row.attempts, row.recovered) == (3, 3)


def test_killed_at_random_moments_in_a_folder_it_finishes_byte_identical(folder: FolderSite) -> None:
    row = kills.at_random(folder, 10, SEED)
    assert row.problems == []
    assert row.exit_codes[KILLED] == 10


def test_killed_at_random_moments_of_committing_to_a_folder_it_finishes_byte_identical(folder: FolderSite) -> None:
    row = kills.at_random(folder, 5, SEED, committing=True)
    assert row.problems == []
    assert row.exit_codes[KILLED] == 5


def test_killed_at_random_moments_of_committing_to_a_bucket_it_finishes_byte_identical(bucket_site: BucketSite) -> None:
    row = kills.at_random(bucket_site, 5, SEED, committing=True)
    assert row.problems == []
    assert row.exit_codes[KILLED] == 5


def test_the_same_dataset_comes_from_a_folder_and_from_a_bucket(folder: FolderSite, bucket_site: BucketSite) -> None:
    assert folder.clean.objects == bucket_site.clean.objects
