"""One small API over folders and s3:// prefixes."""

from dogbreed.core.errors import UsageError
from dogbreed.core.storage.base import STREAM_BLOCK, ObjectInfo, Store
from dogbreed.core.storage.keys import escape_name, key_problem
from dogbreed.core.storage.local import LocalStore
from dogbreed.core.storage.s3 import S3Store
from dogbreed.core.storage.uris import expand_home, to_path

__all__ = [
    "STREAM_BLOCK",
    "LocalStore",
    "ObjectInfo",
    "S3Store",
    "Store",
    "escape_name",
    "expand_home",
    "key_problem",
    "open_store",
    "read_uri",
    "to_path",
]


def open_store(uri: str) -> Store:
    """Return the store behind `folder/`, `file:///folder` or `s3://bucket/prefix`; UsageError for anything else."""
    path = to_path(uri)
    return S3Store(uri) if path is None else LocalStore(path)


def read_uri(uri: str) -> bytes:
    """Return the one object or file behind a URI; NotFound when there is none."""
    path = to_path(uri)
    if path is not None:
        return LocalStore(path.parent).read(path.name)
    parent, _, name = uri.rpartition("/")
    if parent == "s3:/":
        raise UsageError(f"{uri} is a bucket; name one object, s3://bucket/key")
    return S3Store(parent).read(name)
