"""The compose stacks of the end-to-end tests, torn down at the end with their volumes."""

import os
from collections.abc import Iterator

import pytest

from tests.support.e2e.stack import Stack


@pytest.fixture(scope="session")
def worker() -> int:
    """The number of this process of pytest-xdist: each has stacks and ports of its own."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def one_stack(worker: int) -> Iterator[Stack]:
    """Small drawn photos and a few epochs: each job takes seconds."""
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "false"  # docs/operations.md, "From outside"
    settings = {
        "DOGBREED_FETCH_CLASSES": "4",
        "DOGBREED_FETCH_PER_CLASS": "30",
        "DOGBREED_PREPROCESS_SHARDS": "8",
        "DOGBREED_TRAIN_EPOCHS": "8",
    }
    own = Stack(f"dogbreed-e2e-{worker}", 5050 + worker, 9090 + worker, settings)
    own.remove()
    try:
        own.up()
        yield own
    finally:
        own.remove()


@pytest.fixture
def stack(one_stack: Stack) -> Stack:
    """The stack as `up` leaves it, whatever the test before has done with other settings."""
    if one_stack.last_up:
        one_stack.up()
    return one_stack
