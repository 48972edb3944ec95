"""jobs.preprocess against an S3 server that fails; `make faults` has all faults of store_faults.py."""

import pytest

from tests.support.faults import store_faults
from tests.support.faults.preprocess_sites import BucketSite, FolderSite

pytestmark = pytest.mark.timeout(900)  # many processes a test, slow on a busy machine; each attempt has its own limit

SHORT = (
    "503 five times while shards are put",
    "no answer at all",
    "reply to the manifest's PUT lost",
    "403 at every request",
    "clock skew",
    "server gone from the third shard on",
)
LONG = ("half a photo once", "409 three times, at a shard's PUT")  # short: tests/core/test_storage.py, without a job


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_a_failing_store_is_outlasted_or_ends_the_job_with_its_exit_code(bucket_site: BucketSite, name: str) -> None:
    fault = next(fault for fault in store_faults.FAULTS if fault.name == name)
    assert store_faults.inject(bucket_site, fault).problems == []


def test_a_server_that_is_not_there_ends_the_job_with_69(bucket_site: BucketSite) -> None:
    assert store_faults.never_there(bucket_site).problems == []


def test_a_bucket_that_is_not_there_ends_the_job_with_2(bucket_site: BucketSite) -> None:
    assert store_faults.missing_bucket(bucket_site).problems == []


@pytest.mark.parametrize("kind", ["shards", "_parts", "manifest"])
def test_other_bytes_at_one_of_its_keys_end_the_job_with_65_and_stay(folder: FolderSite, kind: str) -> None:
    assert store_faults.planted(folder, kind).problems == []
