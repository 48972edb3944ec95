"""Serialized examples of one worker's images, in a bounded scratch file between the search for duplicates and writing.

The search decodes each image; cropping it at the same time saves a second read and a second decode.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from dogbreed.core.resources import GIB, MIB
from dogbreed.core.scratch import SCRATCH_RESERVE, free_scratch, scratch_folder

Records = list[bytes] | str  # serialized examples of one image, or why there are none

CACHE_LIMIT = 10 * GIB  # bytes: 400,000 images at 224 px
BLOCK = 64 * MIB  # free space is looked up once for so many bytes

log = logging.getLogger(__name__)


@contextmanager
def open_record_cache(classes: Sequence[str], limit: int = CACHE_LIMIT) -> Iterator["RecordCache"]:
    """Yield an empty cache in a scratch file without a name: nothing stays behind if the process is killed."""
    with tempfile.TemporaryFile(dir=scratch_folder()) as file:
        yield RecordCache(file.fileno(), classes, limit)


class RecordCache:
    """The records of images by source id, in an open file; what does not fit is not kept, and is logged once.

    They take at most half of the free scratch space: other files of this job, and other workers on the same disk,
    need theirs. Safe to use from several threads.
    """

    def __init__(self, descriptor: int, classes: Sequence[str], limit: int = CACHE_LIMIT) -> None:
        """Start with an empty file.

        Args:
            descriptor: of the file.
            classes: the class names that the labels of the records are positions in.
            limit: bytes.
        """
        self.classes = tuple(classes)
        self._descriptor, self._limit = descriptor, limit
        self._entries: dict[str, list[tuple[int, int]] | str] = {}  # offset and length of each record
        self._size = 0  # bytes that are written or about to be
        self._allowed = 0  # bytes for which there was room when it was looked up
        self._full = False
        self._lock = threading.Lock()

    def add(self, source_id: str, records: Records) -> None:
        """Keep the records of an image if there is room for them."""
        if isinstance(records, str):
            self._entries[source_id] = records
            return
        data = b"".join(records)
        start = self._reserve(len(data))
        if start is None or not self._write(data, start):
            return
        places = []
        for record in records:
            places.append((start, len(record)))
            start += len(record)
        self._entries[source_id] = places

    def read(self, source_id: str) -> Records | None:
        """Return the records of an image, None if they are not kept."""
        entry = self._entries.get(source_id)
        if entry is None or isinstance(entry, str):
            return entry
        return [os.pread(self._descriptor, length, start) for start, length in entry]

    def count_missing(self, source_ids: Iterable[str]) -> int:
        """Return how many of these images are not kept."""
        return sum(source_id not in self._entries for source_id in source_ids)

    def _reserve(self, length: int) -> int | None:
        """Return where `length` bytes are to be written, None if the cache is full."""
        with self._lock:
            if self._full or not self._has_room(self._size + length):
                self._set_full()
                return None
            start = self._size
            self._size += length
            return start

    def _has_room(self, size: int) -> bool:
        if size > self._limit:
            return False
        while self._allowed < size:
            # a file without a name counts in the free space of the disk, but not in that below a limit
            if free_scratch() < 2 * (self._allowed + BLOCK) + SCRATCH_RESERVE:
                return False
            self._allowed += BLOCK
        return True

    def _write(self, data: bytes, start: int) -> bool:
        try:
            if os.pwrite(self._descriptor, data, start) == len(data):
                return True
        except OSError as error:
            log.warning("cannot write to the scratch folder: %s", error)
        with self._lock:
            self._set_full()
        return False

    def _set_full(self) -> None:
        if not self._full:
            log.info(
                "%d MiB of examples are kept in %s and no more: the other images are read again for their shards",
                self._size // MIB,
                scratch_folder(),
            )
        self._full = True
