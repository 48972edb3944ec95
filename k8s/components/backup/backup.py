"""Copy a dump of the database and the stack's buckets to another object store (`backup.py backup`) or back (`restore`).

It runs in the MLflow image, which has boto3. The AWS_* variables lead to the other store, STACK_* to the stack's own.
"""

import gzip
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 8})
DUMP = Path(os.environ.get("DUMP", "/backup/database.sql"))
BUCKETS = os.environ.get("BUCKETS", "dogbreed mlflow").split()


def listed(client: Any, bucket: str, prefix: str) -> dict[str, tuple[int, datetime]]:
    """Return size and time of each object below a prefix, by the rest of its key."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [item for page in pages for item in page.get("Contents", [])]
    return {item["Key"].removeprefix(prefix): (item["Size"], item["LastModified"]) for item in found}


def copy(source: Any, origin: tuple[str, str], target: Any, place: tuple[str, str]) -> bool:
    """Copy one object from (bucket, key) to (bucket, key); return whether it was still there."""
    try:
        found = source.get_object(Bucket=origin[0], Key=origin[1])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return False  # a job has deleted it since it was listed: an old checkpoint
    extra = {"ContentType": found["ContentType"], "Metadata": found["Metadata"]}
    target.upload_fileobj(found["Body"], *place, ExtraArgs=extra)
    return True


def mirror(source: Any, origin: tuple[str, str], target: Any, place: tuple[str, str], *, update: bool) -> str:
    """Copy what is missing or of another size at the target, and return what was done; nothing is deleted.

    update: also what is older there. A copy is newer than its original, so this has no meaning on the way back.
    """
    there = listed(target, *place)
    copied = 0
    kept = 0
    for key, (size, time) in listed(source, *origin).items():
        if key in there and there[key][0] == size and (there[key][1] >= time or not update):
            kept += 1
        else:
            copied += copy(source, (origin[0], origin[1] + key), target, (place[0], place[1] + key))
    return f"objects copied: {copied}, already there: {kept}"


def backup(stack: Any, other: Any, bucket: str, prefix: str) -> None:
    """Copy the buckets, then the dump: whatever a dump names is there."""
    for name in BUCKETS:
        done = mirror(stack, (name, ""), other, (bucket, f"{prefix}buckets/{name}/"), update=True)
        print(f"{name}: {done}", flush=True)
    packed = DUMP.with_suffix(".sql.gz")
    with DUMP.open("rb") as plain, gzip.open(packed, "wb") as file:
        shutil.copyfileobj(plain, file)
    key = f"{prefix}database/{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sql.gz"
    other.upload_file(str(packed), bucket, key)
    print(f"database: s3://{bucket}/{key}")


def restore(stack: Any, other: Any, bucket: str, prefix: str) -> None:
    """Copy the objects back into the stack's buckets, and the newest dump, or BACKUP_DUMP, to where psql reads it."""
    dumps = listed(other, bucket, f"{prefix}database/")
    name = os.environ.get("BACKUP_DUMP") or max(dumps, default="")
    if name not in dumps:
        sys.exit(f"s3://{bucket}/{prefix}database/ has no dump {name!r}; it has {sorted(dumps)[-5:]}")
    body = other.get_object(Bucket=bucket, Key=f"{prefix}database/{name}")["Body"]
    with gzip.open(body) as file, DUMP.open("wb") as plain:
        shutil.copyfileobj(file, plain)
    print(f"database: {name}")
    for own in BUCKETS:
        done = mirror(other, (bucket, f"{prefix}buckets/{own}/"), stack, (own, ""), update=False)
        print(f"{own}: {done}", flush=True)


if __name__ == "__main__":
    url = urlsplit(os.environ["BACKUP_TARGET"])
    if url.scheme != "s3" or not url.netloc:
        sys.exit(f"BACKUP_TARGET is {url.geturl()!r}; name an s3://bucket/prefix in k8s/components/backup/target.env")
    own_store = boto3.client(
        "s3",
        endpoint_url=os.environ["STACK_ENDPOINT_URL"],
        region_name=os.environ["STACK_REGION"],
        aws_access_key_id=os.environ["STACK_ACCESS_KEY"],
        aws_secret_access_key=os.environ["STACK_SECRET_KEY"],
        config=CONFIG,
    )
    where = f"{url.path.strip('/')}/".lstrip("/")
    {"backup": backup, "restore": restore}[sys.argv[1]](own_store, boto3.client("s3", config=CONFIG), url.netloc, where)
