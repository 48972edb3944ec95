"""Images as files: <class>/<image>, optionally below train/, validation/ and test/."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from dogbreed.core import canonical_json
from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.errors import CorruptData, NotFound
from dogbreed.core.log import progress
from dogbreed.core.storage import Store
from dogbreed.data.raw import SourceImage
from dogbreed.data.splits import SPLITS, TRAIN

SUFFIXES = {".jpg", ".jpeg", ".png"}
READERS = 8  # files at a time: over a network most of the time is waiting

log = logging.getLogger(__name__)


class ImageFolder:
    """The images below `raw`; see dogbreed.data.raw.Source.

    The source id of an image is its path. The top folder, or the one below a split's folder, is its class. There are no
    boxes: whole images are used.
    """

    def __init__(self, raw: Store) -> None:
        self._raw = raw
        keys = [key for key in raw.list() if PurePosixPath(key).suffix.lower() in SUFFIXES and "/" in key]
        if not keys:
            raise NotFound(f"{raw.uri} holds no <class>/<image>.jpg or .png; check --raw")
        parts = {name for name in SPLITS if any(key.startswith(f"{name}/") for key in keys)}
        self.images = [image for key in keys if (image := _source_image(key, parts if TRAIN in parts else set()))]
        if len(self.images) < len(keys):
            log.warning("ignored %d images outside <split>/<class>/", len(keys) - len(self.images))
        self._sha256 = dict(self._hashes())
        self.digest = canonical_json.digest(self._sha256)

    def _hashes(self) -> Iterator[tuple[str, str]]:
        with ThreadPoolExecutor(READERS) as pool:
            hashes = pool.map(lambda image: sha256_hex(self._raw.read(image.source_id)), self.images)
            names = (image.source_id for image in self.images)
            yield from progress(zip(names, hashes, strict=True), "index", len(self.images))

    def read(self, image: SourceImage) -> bytes:
        data = self._raw.read(image.source_id)
        if sha256_hex(data) != self._sha256[image.source_id]:
            raise CorruptData(
                f"{self._raw.uri_of(image.source_id)} has changed since it was indexed; run the job again"
            )
        return data


def _source_image(key: str, splits: set[str]) -> SourceImage | None:
    """Return the image of a path, None if it is in no class folder."""
    first, *rest = key.split("/")
    if not splits:
        return SourceImage(key, first, None)
    return SourceImage(key, rest[0], first) if first in splits and len(rest) > 1 else None
