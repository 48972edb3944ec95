"""The compose stack that the end-to-end tests share, torn down at the end with its volumes."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Small drawn photos and a few epochs: each job takes seconds."""
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "false"  # docs/operations.md, "From outside"
    settings = {
        "DOGBREED_FETCH_BREEDS": "4",
        "DOGBREED_FETCH_PER_BREED": "30",
        "DOGBREED_PREPROCESS_SHARDS": "8",
        "DOGBREED_TRAIN_EPOCHS": "8",
    }
    own = Stack("dogbreed-e2e", settings=settings)
    own.remove()
    try:
        own.up()
        yield own
    finally:
        own.remove()
