"""From the publisher, a mirror or a folder to the raw prefix: resumed, checked, indexed."""

import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import tenacity

from dogbreed.data.sources.archive import index
from dogbreed.data.sources.sketches import SketchConfig, draw_archives
from dogbreed.data.sources.stanford_dogs import ARCHIVES, MEMBERS, PUBLISHED, make_index, same
from dogbreed.platform.errors import DamagedData, MissingObject, ServiceUnreachable, TryAgain
from dogbreed.platform.log import progress
from dogbreed.platform.storage import FolderStore, Store

PUBLISHER = "http://vision.stanford.edu/aditya86/ImageNetDogs"
BLOCK = 64 << 10  # bytes a read: what a broken connection loses at most
TIMEOUT = (10, 60)  # seconds to connect, and between two reads

log = logging.getLogger(__name__)


def draw(raw: Store, config: SketchConfig) -> None:
    """Draw the archives of sketches into `raw`; DataContradiction when other archives are there."""
    for name, content in draw_archives(config).items():
        raw.commit(name, content)


def fetch(raw: Store, origin: str | None, scratch: Path | None, other_checksums: bool) -> None:
    """Bring the three archives from a URL or folder to `raw`, each whole and with its published SHA-256.

    An archive that is there already is not fetched again. `other_checksums` accepts any whole tar.
    """
    origin = (origin or PUBLISHER).rstrip("/")
    scratch = scratch or Path(tempfile.gettempdir()) / "dogbreed-fetch"
    for name in ARCHIVES:
        if raw.size(name) is None:
            log.info("fetching %s from %s", name, origin)
            if origin.startswith(("http://", "https://")):
                path = _download(f"{origin}/{name}", scratch / name)
            else:
                path = _existing(Path(origin.removeprefix("file://")) / name)
            _check(path, other_checksums)
            raw.put_file(name, path)
            if path.parent == scratch:
                path.unlink()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise MissingObject(f"{path} does not exist; name the folder that holds {', '.join(ARCHIVES)} with --from")
    return path


def _check(path: Path, other_checksums: bool) -> None:
    """Raise DamagedData unless the file is a whole tar, and the published one where that is asked for."""
    found, expected = index(FolderStore(path.parent), path.name), PUBLISHED[path.name]
    if not other_checksums and not same(found, expected):
        raise DamagedData(
            f"{path} has {found.bytes} bytes and SHA-256 {found.sha256}, published are {expected.bytes} and "
            f"{expected.sha256}; delete it and fetch again, or accept it with --other-checksums"
        )


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(TryAgain),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random_exponential(max=30),
    reraise=True,
)
def _download(url: str, path: Path) -> Path:
    """Download to `path`, going on where an earlier try stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    have = path.stat().st_size if path.exists() else 0
    try:
        with requests.get(url, headers={"Range": f"bytes={have}-"}, stream=True, timeout=TIMEOUT) as reply:
            if reply.status_code == 416:  # nothing is left beyond what we have
                return path
            if reply.status_code in (403, 404):
                raise MissingObject(f"{url}: {reply.status_code} {reply.reason}; check --from")
            reply.raise_for_status()
            _receive(reply, path, have if reply.status_code == 206 else 0)
    except requests.ConnectionError as error:
        if path.exists():
            raise TryAgain(f"lost {url} ({error}); run the same command again to go on") from error
        raise ServiceUnreachable(f"cannot reach {url} ({error}); check the network or --from") from error
    except requests.RequestException as error:
        raise TryAgain(f"lost {url} ({error}); run the same command again to go on") from error
    return path


def _receive(reply: requests.Response, path: Path, have: int) -> None:
    """Append the reply's body to the first `have` bytes of `path`."""
    total = have + int(reply.headers.get("Content-Length", 0))
    blocks: Iterator[bytes] = reply.iter_content(BLOCK)
    with path.open("r+b" if have else "wb") as file:
        file.seek(have)
        for block in progress(blocks, path.name, (total - have) // BLOCK + 1, unit="block"):
            file.write(block)
        if file.tell() != total:
            raise TryAgain(f"{path.name} broke off at {file.tell()} of {total} bytes; run the same command again")


def write_index(raw: Store, other_checksums: bool) -> dict[str, Any]:
    """Put members.json beside the archives and return the job's summary.

    DamagedData when the archives are not the published ones, unless `other_checksums`.
    """
    content = raw.read(MEMBERS) if raw.size(MEMBERS) is not None else make_index(raw)
    listing = json.loads(content)
    if not (listing["published"] or other_checksums):
        raise DamagedData(
            f"the archives at {raw.uri} are not the published ones; delete them and fetch again, "
            "or accept them with --other-checksums"
        )
    raw.commit(MEMBERS, content)
    return {"raw": raw.uri, "photos": len(listing["members"]), "published": listing["published"]}
