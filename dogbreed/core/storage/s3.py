"""Objects in a bucket of any S3-compatible server, with retries of failed requests; the only importer of boto3."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

import boto3
import tenacity
from botocore import exceptions as boto
from botocore.config import Config

from dogbreed.core.errors import (
    AlreadyExists,
    DataError,
    DogbreedError,
    EnvironmentUnsupported,
    NotFound,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    UsageError,
)
from dogbreed.core.storage.base import STREAM_BLOCK, ObjectInfo, Store

S3_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 8},
    max_pool_connections=32,
)
DENIED_STATUS = {401, 403}
DENIED_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}  # these come with 400
TRANSIENT_STATUS = {408, 409, 429, 500, 502, 503, 504}  # 409: two writers at once
TRANSIENT_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest"}  # these come with 400
NOT_FOUND_CODES = {"404", "NoSuchKey"}
NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
)

# The second of two layers of retries: S3_CONFIG lets botocore retry each request, but not a body that breaks off while
# it is read, nor a 409
retry_transient = tenacity.retry(
    retry=tenacity.retry_if_exception_type(RetryableError),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_random_exponential(max=8),
    reraise=True,
)


class S3Store(Store):
    """Objects in a bucket; AWS_ENDPOINT_URL_S3 selects any S3-compatible server."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.bucket, _, self.prefix = self.uri.removeprefix("s3://").partition("/")
        try:
            self.client = boto3.client("s3", config=S3_CONFIG)
        except (boto.BotoCoreError, ValueError) as error:  # a profile, endpoint or region that does not exist
            raise UsageError(f"cannot open {uri}: {error}; check the AWS_* variables") from error
        self.reached = False

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def read(self, key: str) -> bytes:
        return self._get(key)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        try:
            return self._get(key, Range=f"bytes={offset}-{offset + length - 1}") if length else b""
        except _PastEnd:
            return b""

    @retry_transient
    def _get(self, key: str, **options: str) -> bytes:
        with self._translate_errors(key):
            reply = self.client.get_object(Bucket=self.bucket, Key=self._key(key), **options)  # type: ignore[arg-type]
            self.reached = True
            return reply["Body"].read()

    def open(self, key: str) -> BinaryIO:
        size = self.size(key)
        if size is None:  # a HEAD does not tell a missing object from a missing bucket
            size = len(self._get(key))
        return io.BufferedReader(_RangeReader(self, key, size), STREAM_BLOCK)  # type: ignore[type-var]

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data)

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as stream:
            self._put(key, stream)

    @retry_transient
    def _put(self, key: str, body: bytes | BinaryIO) -> None:
        if not isinstance(body, bytes):
            body.seek(0)
        with self._translate_errors(key):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=body, IfNoneMatch="*")

    def list(self, prefix: str = "") -> Iterator[str]:
        for found in self.list_objects(prefix):
            yield found.key

    def list_objects(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._translate_errors(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._key(prefix))
            for page in pages:
                for entry in page.get("Contents", []):
                    # gateways over a file system list files that they did not write with an empty ETag
                    version = entry.get("ETag") or str(entry.get("LastModified", ""))
                    yield ObjectInfo(entry["Key"].removeprefix(self._key("")), entry.get("Size", 0), version)

    def size(self, key: str) -> int | None:
        try:
            with self._translate_errors(key):
                return self.client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"]
        except NotFound:
            return None
        except (UsageError, PermissionDenied):  # the refusal of a HEAD has no body that says why
            self._get(key, Range="bytes=0-0")
            raise

    def delete(self, key: str) -> None:
        with self._translate_errors(key):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def prefix_problem(self) -> str | None:
        parent, _, name = self.uri.rpartition("/")
        is_object = self.prefix and next(self.list(), None) is None and S3Store(parent).size(name) is not None
        return f"{self.uri} is an object, not a prefix" if is_object else None

    def server_time(self) -> datetime | None:
        try:
            with self._translate_errors(""):
                headers = self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)["ResponseMetadata"]["HTTPHeaders"]
        except DogbreedError as error:  # a refusal tells the time too, and a wrong clock is one reason for it
            if not isinstance(error.__cause__, boto.ClientError):
                raise
            headers = error.__cause__.response["ResponseMetadata"]["HTTPHeaders"]
        date = headers.get("date")
        return parsedate_to_datetime(date) if date else None

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        """Turn botocore's exceptions into the suite's tree of errors."""
        try:
            yield
            self.reached = True
        except boto.ClientError as error:
            self.reached = True
            raise self._refusal(error, key) from error
        except NO_CREDENTIALS as error:
            raise PermissionDenied(
                f"no credentials for {self.uri} ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except boto.ParamValidationError as error:
            raise UsageError(f"{self.uri}: {error}; name s3://bucket/prefix") from error
        except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError) as error:
            if self.reached:
                raise RetryableError(f"lost {self.uri_of(key)}: {error}; run the same command again") from error
            raise ServiceUnavailable(
                f"cannot reach {self.client.meta.endpoint_url} for {self.uri}: {error}; "
                "check AWS_ENDPOINT_URL_S3 and the network"
            ) from error
        except boto.BotoCoreError as error:  # a wrong checksum of a body, for example
            raise RetryableError(f"{self.uri_of(key)}: {error}; run the same command again") from error

    def _refusal(self, error: boto.ClientError, key: str) -> DogbreedError:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return UsageError(f"bucket {self.bucket!r} does not exist; create it or correct {self.uri}")
        if code == "InvalidRange":
            return _PastEnd(f"{self.uri_of(key)} ends before the range")
        if code in NOT_FOUND_CODES:
            return NotFound(f"{self.uri_of(key)} does not exist")
        if code in ("PreconditionFailed", "412"):
            return AlreadyExists(f"{self.uri_of(key)} exists")
        if code == "RequestTimeTooSkewed":
            return EnvironmentUnsupported(f"{self.uri_of(key)}: {error}; set this machine's clock by NTP")
        if status in DENIED_STATUS or code in DENIED_CODES:
            return PermissionDenied(f"{self.uri_of(key)}: {error}; check the credentials and the clock")
        if status in TRANSIENT_STATUS or code in TRANSIENT_CODES:
            return RetryableError(f"{self.uri_of(key)}: {error}; run the same command again")
        return UsageError(f"{self.uri_of(key)}: {error}; name s3://bucket/prefix of a server that speaks S3")


class _PastEnd(DataError):
    """A range that begins at or after an object's end."""


class _RangeReader(io.RawIOBase):
    """A seekless stream made of range requests, each of which is retried on its own."""

    def __init__(self, store: S3Store, key: str, size: int) -> None:
        self._store, self._object, self._size, self._offset = store, key, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        length = min(len(buffer), self._size - self._offset)
        data = self._store.read_range(self._object, self._offset, length) if length else b""
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)
