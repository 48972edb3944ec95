"""Mutations of the shards of a committed dataset, in a folder and in a bucket: each is noticed when it is opened."""

import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from moto.server import ThreadedMotoServer

from dogbreed.core.errors import DogbreedError
from dogbreed.core.storage import LocalStore, S3Store, Store
from dogbreed.data.manifest import load_manifest
from dogbreed.data.shard_files import cache_shards, read_verified
from tests.support.hostile import made, preprocess
from tests.support.hostile.verdict import ACCEPTED, Item

REFUSED = "refused 65: .* manifest.json.*"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@cache
def committed() -> Path:
    """Return the folder of a dataset at 32 px: 17 photos for train, 1 for validation, 6 for test."""
    place = Path(tempfile.mkdtemp(prefix="hostile-dataset-"))
    keys = [f"{breed}/{breed[:9]}_{n}" for breed in made.BREEDS for n in range(12)]
    preprocess.dataset(made.write_raw(place / "raw", **made.archives(keys)), place / "out")
    return place / "out"


def records_of(data: bytes) -> list[bytes]:
    """Return the records of a TFRecord file whole: length, its checksum, content, its checksum."""
    records = []
    while data:
        size = 16 + struct.unpack("<Q", data[:8])[0]
        records.append(data[:size])
        data = data[size:]
    return records


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _swapped(data: bytes) -> bytes:
    first, second, *rest = records_of(data)
    return b"".join([second, first, *rest])


def _other(data: bytes) -> bytes:
    """Return a valid shard of the same dataset: that of another split."""
    shards = [split.shards[0] for split in load_manifest(LocalStore(committed())).splits.values() if split.shards]
    return next(other for shard in shards if (other := (committed() / shard.key).read_bytes()) != data)


MUTATIONS: dict[str, Callable[[bytes], bytes]] = {
    "a bit of a photo flipped": lambda data: _flipped(data, len(records_of(data)[0]) // 2),
    "a bit of a length flipped": lambda data: _flipped(data, 0),
    "a bit of a length's checksum flipped": lambda data: _flipped(data, 8),
    "a bit of the last checksum flipped": lambda data: _flipped(data, len(data) - 1),
    "cut between two records": lambda data: b"".join(records_of(data)[:-1]),
    "cut in a record": lambda data: data[: len(data) - 100],
    "a record doubled": lambda data: data + records_of(data)[0],
    "two records swapped": _swapped,
    "emptied": lambda data: b"",
    "another valid shard in its place": _other,
    "zeros appended": lambda data: data + bytes(16),
}


@cache
def _server() -> ThreadedMotoServer:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL_S3="http://{}:{}".format(*server.get_host_and_port()))
    return server


def _open(mutate: Callable[[bytes], bytes], bucket: str | None, folder: Path) -> str:
    """Open a dataset with one mutated shard in the three ways that there are; all must refuse it."""
    copy = Path(shutil.copytree(committed(), folder / "data"))
    shard = load_manifest(LocalStore(copy)).split("train").shards[0]
    good = (copy / shard.key).read_bytes()
    assert mutate(good) != good
    (copy / shard.key).write_bytes(mutate(good))
    store = _copied(copy, bucket) if bucket else LocalStore(copy)
    ways: list[Callable[[], object]] = [
        lambda: cache_shards(store, [shard], folder / "cache"),
        lambda: _flow(store, folder / "copies"),
        lambda: read_verified(store, shard),
    ]
    codes = [_code(way) for way in ways]
    return f"{ACCEPTED}: exit codes {codes}" if codes != [65] * 3 else str(ways[-1]())


def _copied(folder: Path, name: str) -> Store:
    """Return a new bucket with the files of a folder."""
    _server()
    store = S3Store(f"s3://{name}/data")
    store.client.create_bucket(Bucket=name)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        store.put(path.relative_to(folder).as_posix(), path.read_bytes())
    return store


def _flow(store: Store, cache: Path) -> None:
    from dogbreed.data.augment import Augment
    from dogbreed.data.input_pipeline import InputPipeline
    from dogbreed.data.resize import ResizeSpec

    InputPipeline(load_manifest(store), store, ResizeSpec(32), 2, cache).train_batches(Augment(), seed=0, epochs=1)


def _code(way: Callable[[], object]) -> int:
    """Return the exit code that the way would end with."""
    try:
        way()
    except DogbreedError as error:
        return error.exit_code
    return 0


def mutated_shards() -> list[Item]:
    """Return every mutation in a folder and in a bucket."""
    items = []
    for number, (name, mutate) in enumerate(MUTATIONS.items()):
        items.append(Item(f"{name}, folder", partial(_open, mutate, None), REFUSED))
        items.append(Item(f"{name}, bucket", partial(_open, mutate, f"hostile-{number}"), REFUSED))
    return [*items, Item("jobs.train", _train, "refused 65: .* manifest.json.*")]


def _train(folder: Path) -> str:
    """Train on a dataset with a damaged shard as a process: 65 and one line, no traceback."""
    copy = Path(shutil.copytree(committed(), folder / "data"))
    shard = load_manifest(LocalStore(copy)).split("train").shards[0]
    (copy / shard.key).write_bytes(_swapped((copy / shard.key).read_bytes()))
    tracking = f"sqlite:///{folder}/mlflow.db"
    command = ("train", "--data", str(copy), "--recipe", "cifar10-resnet")
    done = preprocess.job(*command, MLFLOW_TRACKING_URI=tracking)
    assert "Traceback" not in done.log, done.log[-2000:]
    last = [line for line in done.log.splitlines() if " ERROR " in line][-1]
    return f"refused {done.code}: {last}"
