"""Where the job is hurt: a folder or a bucket with the archives, and what a run that nobody hurts makes of them."""

import io
import itertools
import shutil
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3

from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives
from tests.support.attempt import Outcome, attempt
from tests.support.watched_job import Order

SKETCHES = SyntheticConfig(classes=4, per_class=12)  # 32 photos for train, 16 for test
OPTIONS = ("--size", "32", "--shards", "12", "--per-class", "7", "--max-quarantined", "0.1")  # 4 photos are left out


@dataclass(frozen=True)
class Place:
    """An empty prefix, and a folder for the logs and the MLflow database of those who write there."""

    site: "Site"
    out: str
    folder: Path

    @property
    def database(self) -> Path:
        """SQLite file that MLflow keeps its runs in."""
        return self.folder / "mlflow.db"

    def order(self, *options: str, environment: Mapping[str, str] | None = None, **details: Any) -> Order:
        """Return an order for the job to write here; of two options of one name the later counts."""
        log = self.folder / f"attempt-{next(self.site.numbers)}"
        own = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.database}"}
        return Order(
            arguments=(*self.site.arguments, "--out", self.out, *options),
            environment={**self.site.environment, **own, **(environment or {})},
            stderr=log.with_suffix(".stderr"),
            stdout=log.with_suffix(".stdout"),
            module=self.site.module,
            **details,
        )

    def objects(self) -> dict[str, bytes]:
        """Return all that lies below the prefix by key, read without the suite's own code."""
        return self.site.objects(self.out)


@dataclass(frozen=True)
class Clean:
    """What a run that nobody hurts leaves and takes."""

    objects: dict[str, bytes]
    database: Path  # MLflow's, with the dataset's run
    calls: tuple[str, ...]  # to --out
    run: tuple[float, float]  # from the first call to a store, 0, to the end; seconds
    commits: tuple[float, float]  # from the first put to that of the manifest


class Site(ABC):
    """A kind of store that holds what a job reads and gives each scenario a place of its own."""

    module = "jobs.preprocess"
    other: tuple[str, ...] = ("--size", "16")  # options that ask for something else

    def __init__(self, name: str, work: Path, raw: str, environment: dict[str, str]) -> None:
        self.name, self.work, self.raw, self.environment = name, work, raw, environment
        self.numbers = itertools.count()
        for key, data in self.inputs().items():
            self.write(raw, key, data)

    def inputs(self) -> dict[str, bytes]:
        """Return what the job reads, by key below `raw`."""
        return archives()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The job's options but for --out."""
        return ("--source", "synthetic", "--raw", self.raw, *OPTIONS)

    def place(self, tracked: bool = False) -> Place:
        """Return an empty place; only if `tracked` does MLflow lack the dataset's run, whose pictures take a while."""
        place = self._unused()
        shutil.copy(self.template if tracked else self.clean.database, place.database)
        return place

    def _unused(self) -> Place:
        number = next(self.numbers)
        place = Place(self, self._prefix(number), self.work / str(number))
        place.folder.mkdir(parents=True)
        return place

    @cached_property
    def template(self) -> Path:
        """An MLflow database with all tables, which take a second to make, and the run of another dataset."""
        place = self._unused()
        self.undisturbed(place, *self.other)
        return place.database

    @cached_property
    def clean(self) -> Clean:
        """What a run that nobody hurts leaves; it runs when first asked for."""
        place = self.place(tracked=True)
        calls = self.undisturbed(place, watched=place.out).calls
        timed = self.undisturbed(self.place(tracked=True))
        puts = [when for call, when in zip(timed.calls, timed.moments, strict=True) if call.startswith("put")]
        return Clean(place.objects(), place.database, calls, (0, timed.seconds), (puts[0], puts[-1]))

    def undisturbed(self, place: Place, *options: str, **details: Any) -> Outcome:
        """Run the job there; it must succeed."""
        outcome = attempt(place.order(*options, **details))
        assert outcome.exit_code == 0, outcome.stderr
        return outcome

    @abstractmethod
    def _prefix(self, number: int) -> str:
        """Return the URI of a prefix that nobody has used."""

    @abstractmethod
    def objects(self, uri: str) -> dict[str, bytes]:
        """Return all that lies below a prefix."""

    @abstractmethod
    def write(self, uri: str, key: str, data: bytes) -> None:
        """Put an object that no job has made."""

    @abstractmethod
    def delete(self, uri: str, key: str) -> None:
        """Delete an object."""


class FolderSite(Site):
    """Objects are files; a place's prefix has its folder to itself, with what writers leave beside it."""

    def __init__(self, work: Path) -> None:
        super().__init__("folder", work, str(work / "raw"), {})

    def _prefix(self, number: int) -> str:
        return str(self.work / str(number) / "dogs")

    def objects(self, uri: str) -> dict[str, bytes]:
        files = (path for path in Path(uri).rglob("*") if path.is_file())
        return {path.relative_to(uri).as_posix(): path.read_bytes() for path in files}

    def write(self, uri: str, key: str, data: bytes) -> None:
        path = Path(uri, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, uri: str, key: str) -> None:
        Path(uri, key).unlink()


class BucketSite(Site):
    """Objects in a bucket of its own on the server that the AWS_* variables in `environment` name."""

    def __init__(self, work: Path, bucket: str, environment: dict[str, str]) -> None:
        self.bucket, self.endpoint = bucket, environment["AWS_ENDPOINT_URL_S3"]
        self._client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_DEFAULT_REGION"],
        )
        self._client.create_bucket(Bucket=bucket)
        super().__init__("s3", work, f"s3://{bucket}/raw", environment)

    def _prefix(self, number: int) -> str:
        return f"s3://{self.bucket}/{number}/dogs"

    def _key(self, uri: str, key: str = "") -> str:
        return f"{uri.removeprefix(f's3://{self.bucket}/')}/{key}"

    def objects(self, uri: str) -> dict[str, bytes]:
        start = self._key(uri)
        read = {key: self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in self._keys(start)}
        return {key.removeprefix(start): data for key, data in read.items()}

    def _keys(self, start: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def write(self, uri: str, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.bucket, Key=self._key(uri, key), Body=data)

    def delete(self, uri: str, key: str) -> None:
        self._client.delete_object(Bucket=self.bucket, Key=self._key(uri, key))

    def remove(self) -> None:
        """Delete the bucket with all that is in it."""
        for key in self._keys(""):
            self._client.delete_object(Bucket=self.bucket, Key=key)
        self._client.delete_bucket(Bucket=self.bucket)
        self._client.close()


def archives() -> dict[str, bytes]:
    """Return the drawn archives; one photo is damaged, for the quarantine."""
    drawn = draw_archives(SKETCHES)
    images = bytearray(drawn["images.tar"])
    with tarfile.open(fileobj=io.BytesIO(images)) as tar:
        photo = next(member for member in tar if member.isreg())
    images[photo.offset_data : photo.offset_data + 8] = bytes(8)
    return {**drawn, "images.tar": bytes(images)}
