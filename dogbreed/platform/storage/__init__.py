"""One small API over folders and s3:// prefixes."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from dogbreed.platform.errors import UnknownName
from dogbreed.platform.storage.base import STREAM_BLOCK, Store
from dogbreed.platform.storage.folder import FolderStore
from dogbreed.platform.storage.s3 import S3Store

__all__ = ["STREAM_BLOCK", "FolderStore", "S3Store", "Store", "open_store", "read_uri"]


def open_store(uri: str) -> Store:
    """Return the store behind `folder/`, `file:///folder` or `s3://bucket/prefix`."""
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(uri)
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if "://" not in uri and uri:
        return FolderStore(Path(uri))
    raise UnknownName(f"cannot open {uri!r}: name a folder, file:///folder or s3://bucket/prefix")


def read_uri(uri: str) -> bytes:
    """Return the one object or file behind a URI; MissingObject when there is none."""
    parent, _, name = uri.rpartition("/")
    return open_store(parent or ("/" if uri.startswith("/") else ".")).read(name)
