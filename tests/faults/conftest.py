"""A folder and a bucket in which jobs.preprocess may be hurt; the faults themselves are in the modules beside this."""

import os
from collections.abc import Iterator

import pytest

from tests.support.faults.preprocess_sites import BucketSite, FolderSite
from tests.support.servers import aws_variables


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FolderSite:
    return FolderSite(tmp_path_factory.mktemp("faults-folder"))


@pytest.fixture(scope="session")
def bucket_site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketSite]:
    """A bucket on the server that the other tests use."""
    site = BucketSite(tmp_path_factory.mktemp("faults-s3"), f"dogbreed-faults-{os.getpid()}", aws_variables(s3))
    yield site
    site.remove()
