"""Decoded images that are kept between epochs: in memory, or in a memory-mapped file of the scratch folder.

TensorFlow reads both where they lie, without a copy (DLPack).
"""

import errno
import fcntl
import logging
import mmap
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from dogbreed.core import resources, scratch
from dogbreed.core.errors import EnvironmentUnsupported, RetryableError
from dogbreed.core.log import progress

FOLDER = "dogbreed-decoded-images"  # in the scratch folder

Array = np.ndarray[Any, np.dtype[Any]]

IMAGES_PER_TASK = 1000  # that a thread verifies at a time

log = logging.getLogger(__name__)


def as_tensor(array: Array) -> tf.Tensor:
    """Return a tensor that shares the memory of an array, which must begin at a page: it changes with the array."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def decode_into_memory(batches: tf.data.Dataset, count: int, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the images, uint8 [count, size, size, 3], and labels, int32 [count], of batches.

    Raises:
        EnvironmentUnsupported: they would take more than half of the memory.
    """
    what = f"{count} decoded images of {size} px (train with --cache disk or none)"
    resources.check_memory(count * size * size * 3, what)
    images, labels, start = _empty_in_memory((count, size, size, 3)), np.empty(count, np.int32), 0
    for batch, batch_labels in batches.as_numpy_iterator():
        end = start + len(batch_labels)
        images[start:end], labels[start:end] = batch, batch_labels
        start = end
    with tf.device("CPU"):  # a GPU's memory is for the model
        return as_tensor(images), tf.constant(labels)


def _empty_in_memory(shape: tuple[int, ...]) -> Array:
    """Return a new uint8 array for `as_tensor`; NumPy's own arrays begin between two pages and would be copied."""
    private = mmap.mmap(-1, int(np.prod(shape)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(private, np.uint8).reshape(shape)


class DecodedFile:
    """Decoded images of equal size in a file, which processes with the same scratch folder share.

    Each image is written when it is decoded for the first time, with its checksum. The file stays in the scratch
    folder for the next training.
    """

    def __init__(self, name: str, count: int, size: int) -> None:
        """Open or make the file of `count` images of `size` pixels.

        name: a digest of all that determines the pixels.

        Raises:
            EnvironmentUnsupported, RetryableError: it does not fit into the scratch folder.
        """
        folder = scratch.own_folder(FOLDER)
        path = folder / f"{name}.uint8"
        needed = count * size * size * 3
        self._checksums = _map_file(path.with_suffix(".crc32"), 4 * count).view(np.uint32)
        self._images = _map_file(path, needed).reshape(count, size, size, 3)
        self._verify(path)
        log.info(
            "decoded images: %s (%.1f GiB), %d of %d are there; delete it to free the space",
            path, needed / resources.GIB, np.count_nonzero(self._checksums), count,
        )  # fmt: skip
        others = [other.stat().st_size for other in folder.glob("*.uint8") if other != path]
        if others:
            log.info(
                "%s has %d other files of decoded images (%.1f GiB)", folder, len(others), sum(others) / resources.GIB
            )
        self.images = as_tensor(self._images)  # uint8 [count, size, size, 3]
        self._known = as_tensor(self._checksums)

    def has(self, place: tf.Tensor) -> tf.Tensor:
        """Return bool [], whether the image at this place, int64 [], is there by now."""
        return self._known[place] != 0

    def store(self, place: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return uint8 [size, size, 3] after writing it at its place, int64 []."""
        with tf.control_dependencies([tf.numpy_function(self._write, [place, image], [])]):
            return tf.identity(image)

    def _write(self, place: int, image: Array) -> None:
        self._images[place] = image
        self._checksums[place] = _checksum(image)

    def _verify(self, path: Path) -> None:
        """Forget the images that differ from their checksums: an earlier process or its machine died."""
        places = np.flatnonzero(self._checksums)
        parts = [places[start : start + IMAGES_PER_TASK] for start in range(0, len(places), IMAGES_PER_TASK)]
        with resources.thread_pool(resources.cores()) as pool:
            damaged = sum(progress(pool.map(self._forget_damaged, parts), "verify decoded images", len(parts)))
        if damaged:
            log.warning("%s: %d decoded images are damaged and will be decoded again", path, damaged)

    def _forget_damaged(self, places: Array) -> int:
        """Forget the damaged ones of some images, and return how many they are."""
        found = np.array([_checksum(self._images[place]) for place in places], np.uint32)
        damaged = places[self._checksums[places] != found]
        self._checksums[damaged] = 0
        return len(damaged)


def _map_file(path: Path, length: int) -> Array:
    """Return the bytes of a file, whose space on the disk is reserved; one of another length is made anew."""
    try:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # other processes begin at the same time
            if os.fstat(file.fileno()).st_size != length:
                _reserve(file, path, length)
            mapped = np.memmap(file, np.uint8, "r+")
            fcntl.flock(file, fcntl.LOCK_UN)  # the mapping keeps the file open
            return mapped
    except OSError as error:
        kind = RetryableError if error.errno in (errno.ENOSPC, errno.EDQUOT) else EnvironmentUnsupported
        raise kind(
            f"decoded images in {path}: {error.strerror}; set TMPDIR to another folder, or --cache none"
        ) from error


def _reserve(file: BinaryIO, path: Path, length: int) -> None:
    """Give an open file its length; where there is no room, remove it."""
    file.truncate(0)
    try:
        scratch.check_free_scratch(length, f"decoded images in {path}")
        os.posix_fallocate(file.fileno(), 0, length)
    except BaseException:
        path.unlink()
        raise


def _checksum(image: Array) -> int:
    return zlib.crc32(image.data) or 1  # 0: not there
