"""One small API over folders and s3:// prefixes."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from dogbreed.core.errors import UsageError
from dogbreed.core.storage.base import STREAM_BLOCK, ObjectInfo, Store
from dogbreed.core.storage.local import LocalStore
from dogbreed.core.storage.s3 import S3Store

__all__ = ["STREAM_BLOCK", "LocalStore", "ObjectInfo", "S3Store", "Store", "open_store", "read_uri"]


def open_store(uri: str) -> Store:
    """Return the store behind `folder/`, `file:///folder` or `s3://bucket/prefix`."""
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(uri)
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)))
    if "://" not in uri and uri:
        return LocalStore(Path(uri))
    raise UsageError(f"cannot open {uri!r}: name a folder, file:///folder or s3://bucket/prefix")


def read_uri(uri: str) -> bytes:
    """Return the one object or file behind a URI; NotFound when there is none."""
    parent, _, name = uri.rpartition("/")
    return open_store(parent or ("/" if uri.startswith("/") else ".")).read(name)
