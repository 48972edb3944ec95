"""Photos as files: <breed>/<photo>, optionally below train/, validation/ and test/."""

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
    """The photos below `raw`; see dogbreed.data.raw.Source.

    A photo's key is its path. The folder that holds it, or the first one below a split's, is its breed. There are no
    boxes: the whole photo is used.
    """

    def __init__(self, raw: Store) -> None:
        self._raw = raw
        keys = [key for key in raw.list() if PurePosixPath(key).suffix.lower() in SUFFIXES and "/" in key]
        if not keys:
            raise NotFound(f"{raw.uri} holds no <breed>/<photo>.jpg or .png; check --raw")
        parts = {name for name in SPLITS if any(key.startswith(f"{name}/") for key in keys)}
        self.photos = [image for key in keys if (image := _photo(key, parts if TRAIN in parts else set()))]
        if len(self.photos) < len(keys):
            log.warning("ignored %d photos outside <split>/<breed>/", len(keys) - len(self.photos))
        self._sha256 = dict(self._hashes())
        self.digest = canonical_json.digest(self._sha256)

    def _hashes(self) -> Iterator[tuple[str, str]]:
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(lambda photo: sha256_hex(self._raw.read(photo.key)), self.photos)
            names = (photo.key for photo in self.photos)
            yield from progress(zip(names, found, strict=True), "index", len(self.photos))

    def read(self, image: SourceImage) -> bytes:
        data = self._raw.read(image.key)
        if sha256_hex(data) != self._sha256[image.key]:
            raise CorruptData(f"{self._raw.uri_of(image.key)} has changed since it was indexed; run the job again")
        return data


def _photo(key: str, splits: set[str]) -> SourceImage | None:
    """Return the photo behind a path, None for one that is in no breed's folder."""
    first, *rest = key.split("/")
    if not splits:
        return SourceImage(key, first, None)
    return SourceImage(key, rest[0], first) if first in splits and len(rest) > 1 else None
