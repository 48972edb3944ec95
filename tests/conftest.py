"""What the tests share: drawn archives, a real S3 server, one small dataset, the way through preprocess."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow

import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dogbreed.core.storage import LocalStore, Store, open_store
from dogbreed.data.config import DatasetConfig
from dogbreed.data.manifest import Manifest
from dogbreed.data.raw import Source
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives

Preprocess = Callable[..., Manifest | None]
SKETCHES = SyntheticConfig(classes=4, per_class=12)
BUCKETS = itertools.count()
LONGEST = (  # of `make test`, the longest first: with --dist loadfile no worker begins one of them when others are done
    "jobs/test_whole_way.py",
    "faults/test_training.py",
    "training/test_resume.py",
    "faults/test_kills.py",
    "faults/test_workers.py",
    "faults/test_hostile_corpora.py",
    "jobs/test_transfer_way.py",
    "models/test_registry.py",
    "faults/test_predictions.py",
    "faults/test_store_faults.py",
    "faults/test_writers.py",
    "jobs/test_other_data.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the others stay in their order."""
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


@pytest.fixture(scope="session")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three archives of 4 breeds x 12 photos: 32 for train, 16 for test."""
    folder = tmp_path_factory.mktemp("raw")
    for name, data in draw_archives(SKETCHES).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server over real HTTP: DOGBREED_TEST_S3_ENDPOINT, or moto."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request otherwise
    with pytest.MonkeyPatch.context() as patch:
        endpoint, server = os.environ.get("DOGBREED_TEST_S3_ENDPOINT"), None
        if endpoint is None:
            server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
            server.start()
            endpoint = "http://{}:{}".format(*server.get_host_and_port())
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        patch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
        yield endpoint
        if server:
            server.stop()


@pytest.fixture
def bucket(s3: str) -> Iterator[str]:
    """The URI of a fresh, empty bucket."""
    name = f"dogbreed-test-{os.getpid()}-{next(BUCKETS)}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    yield f"s3://{name}"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=entry["Key"])
    client.delete_bucket(Bucket=name)
    client.close()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty prefix, once in a folder and once in a bucket."""
    if request.param == "folder":
        return open_store(str(tmp_path / "place" / "prefix"))
    return open_store(request.getfixturevalue("bucket") + "/prefix")


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="session")
def preprocess(pool: ThreadPoolExecutor) -> Preprocess:
    """What jobs.preprocess does: plan, make this worker's shards, finish."""
    from dogbreed.data import builder, sharded_work
    from dogbreed.data.plan import plan_dataset
    from dogbreed.data.sharded_work import assign_shards

    def run(
        source: Source,
        out: Store,
        max_quarantined: float = 0.01,
        index: int | None = None,
        workers: int = 1,
        **options: Any,
    ) -> Manifest | None:
        plan = plan_dataset(source, DatasetConfig(**{"size": 32, **options}))
        if manifest := sharded_work.load_if_complete(plan, out):
            return manifest
        list(builder.write_shards(plan, assign_shards(plan, index, workers), out, pool))
        return builder.finalize(plan, out, max_quarantined)

    return run


@pytest.fixture(scope="session")
def source(sketches: Path) -> StanfordDogs:
    return StanfordDogs(LocalStore(sketches))


@pytest.fixture(scope="session")
def dataset(source: StanfordDogs, preprocess: Preprocess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sketches as a committed dataset at 32 px; not to be changed, copy it first."""
    out = tmp_path_factory.mktemp("datasets") / "sketches-32"
    assert preprocess(source, LocalStore(out)) is not None
    return out


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables, which take 1 to 2 s to make; to be copied."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
