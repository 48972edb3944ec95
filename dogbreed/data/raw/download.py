"""Archives from the publisher, a mirror or a folder to the raw prefix: resumable, verified, indexed."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import requests
import tenacity

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import (
    AlreadyExists,
    CorruptData,
    DataError,
    NotFound,
    PermissionDenied,
    RetryableError,
    ServiceUnavailable,
    UsageError,
)
from dogbreed.core.log import progress
from dogbreed.core.scratch import check_free_scratch
from dogbreed.core.storage import STREAM_BLOCK, LocalStore, Store, open_store
from dogbreed.data.raw.archive import Archive, index
from dogbreed.data.raw.archive_index import (
    ARCHIVES,
    IMAGES,
    MEMBERS,
    PUBLISHED,
    build_index,
    is_same_archive,
    load_index,
)
from dogbreed.data.synthetic.archives import SyntheticConfig, draw_archives

PUBLISHER = "http://vision.stanford.edu/aditya86/ImageNetDogs"
BLOCK = 64 << 10  # bytes a read: the most that a broken connection loses
UNANNOUNCED = 64 << 20  # bytes of a download without a Content-Length between two looks at the scratch space
TIMEOUT = (10, 60)  # seconds to connect, and between two reads

log = logging.getLogger(__name__)


def synthesize(raw: Store, config: SyntheticConfig) -> None:
    """Generate archives of synthetic images at `raw`; DataError if other archives are there."""
    log.info("drawing images of %d classes, %d of each", config.classes, config.per_class)
    for name, content in draw_archives(config).items():
        raw.commit(name, content)


def fetch(raw: Store, origin: str | None, scratch: Path | None, other_checksums: bool) -> None:
    """Copy the three archives from a URL, folder or bucket to `raw`, complete and with their published SHA-256.

    An archive that exists is not fetched again. `other_checksums` accepts any complete tar. Partial downloads are kept
    in `scratch`, by origin, and continued by the next call.
    """
    origin = (origin or PUBLISHER).rstrip("/")
    scratch = (scratch or Path(tempfile.gettempdir()) / "dogbreed-fetch") / sha256_hex(origin.encode())[:16]
    reached: list[str] = []
    for name in ARCHIVES:
        if raw.size(name) is None:
            log.info("fetching %s from %s", name, origin)
            if origin.startswith(("http://", "https://")):
                path = _download(f"{origin}/{name}", scratch / name, reached)
            else:
                path = _in_store(open_store(origin), name, scratch)
            _ingest(path, raw, other_checksums, own=path.parent == scratch)


def _in_store(store: Store, name: str, scratch: Path) -> Path:
    """Return a local file of the archive: the one in a folder, or a copy in `scratch`."""
    size, path = store.size(name), store.local_path(name)
    if size is None:
        raise NotFound(f"{store.uri_of(name)} does not exist; give the place of {', '.join(ARCHIVES)} with --from")
    if path is None:
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / name
        check_free_scratch(size, f"a copy of {store.uri_of(name)}", scratch)
        with store.open(name) as stream, path.open("wb") as copy:
            for block in progress(iter(lambda: stream.read(STREAM_BLOCK), b""), name, size, "B", len):
                copy.write(block)
    return path


def _ingest(path: Path, raw: Store, other_checksums: bool, own: bool) -> None:
    """Verify an archive and write it to `raw`; our `own` copy is kept only if a later call can use it."""
    try:
        archive = index(LocalStore(path.parent), path.name)
    except CorruptData:
        if own:
            path.unlink()
        raise
    if not other_checksums:
        _require_published(archive, path)
    try:
        raw.put_file(path.name, path)
    except AlreadyExists as error:  # by another fetch, or by a put whose reply was lost
        if not is_same_archive(index(raw, path.name), archive):
            raise DataError(
                f"{raw.uri_of(path.name)} is another archive; choose another --raw or delete it first"
            ) from error
    if own:
        path.unlink()


def _require_published(archive: Archive, path: Path) -> None:
    expected = PUBLISHED[path.name]
    if not is_same_archive(archive, expected):
        raise CorruptData(
            f"{path} has {archive.bytes} bytes and SHA-256 {archive.sha256}, published are {expected.bytes} and "
            f"{expected.sha256}; delete it and fetch again, or accept it with --allow-other-checksums"
        )


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(RetryableError),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random_exponential(max=30),
    reraise=True,
)
def _download(url: str, path: Path, reached: list[str]) -> Path:
    """Download to `path`, continuing a partial file; URLs that replied are added to `reached`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    have = path.stat().st_size if path.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}  # a range of the file, not of its gzip
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
            reached.append(url)
            if reply.status_code == 416:  # the partial file is complete
                return path
            _require_file(reply)
            _receive(reply, path, have if reply.status_code == 206 else 0)
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise UsageError(f"{url} is not a valid URL ({error}); check --from") from error
    except requests.RequestException as error:
        if reached:
            raise RetryableError(
                f"lost the connection to {url} ({error}); run the same command again to continue"
            ) from error
        raise ServiceUnavailable(f"cannot reach {url} ({error}); check the network or --from") from error
    return path


def _require_file(reply: requests.Response) -> None:
    """Raise the error of a refused request; RetryableError for temporary ones."""
    status = f"{reply.url}: {reply.status_code} {reply.reason}"
    if reply.status_code in (408, 429) or reply.status_code >= 500:
        raise RetryableError(f"{status}; run the same command again")
    if reply.status_code in (401, 407):
        raise PermissionDenied(f"{status}; fetch from elsewhere with --from")
    if not reply.ok:
        raise NotFound(f"{status}; check --from")


def _receive(reply: requests.Response, path: Path, have: int) -> None:
    """Append the reply's body to the first `have` bytes of `path`."""
    announced = reply.headers.get("Content-Length")
    blocks: Iterator[bytes] = reply.iter_content(BLOCK)
    ahead, checked = int(announced or UNANNOUNCED), have
    with path.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in progress(blocks, path.name, int(announced) if announced else None, "B", len):
            if file.tell() >= checked:
                check_free_scratch(ahead, f"the download of {path.name}", path.parent)
                checked += ahead
            file.write(block)
        if announced and file.tell() != have + int(announced):
            raise RetryableError(
                f"the download of {path.name} ended at {file.tell()} of {have + int(announced)} bytes; "
                "run the same command again"
            )


class FetchSummary(TypedDict):
    """Summary of jobs.fetch."""

    raw: str
    images: int
    published: bool  # whether these are the published archives


def write_index(raw: Store, other_checksums: bool) -> FetchSummary:
    """Write members.json beside the archives and return the job's summary.

    Raises:
        CorruptData: the archives are not the published ones, and `other_checksums` is false.
    """
    present = load_index(raw)
    archive_index = present or build_index(raw)
    if not (archive_index.published or other_checksums):
        raise CorruptData(
            f"the archives at {raw.uri} are not the published ones; delete them and fetch again, "
            "or accept them with --allow-other-checksums"
        )
    if present is None:
        raw.commit(MEMBERS, archive_index.to_json())
    return {"raw": raw.uri, "images": len(archive_index.archives[IMAGES].members), "published": archive_index.published}
