"""Fingerprints of images: SHA-256 of file and pixels, and two perceptual hashes.

The hashes have 64 bits each, as `imagehash` computes them (http://www.hackerfactor.com/blog, "Looks Like It" and "Kind
of Like That").
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.data import images
from dogbreed.data.images import InvalidImage, Pixels

SIDE = 96  # pixels to which a JPEG is reduced while it is decoded: three times what the hashes look at
APPROXIMATE_SIDE = 80  # pixels: reduces the published images (500 x 333 and more) by 4, in half of the time of 2


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of a file, and its two hashes of 64 bits; None for what cannot be decoded."""

    sha256: str
    phash: int | None = None  # perceptual hash
    dhash: int | None = None  # gradient hash

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a fingerprint file."""
        return {"sha256": self.sha256, "phash": self.phash, "dhash": self.dhash}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Fingerprint":
        """Return what `to_dict` was made of."""
        return cls(entry["sha256"], entry["phash"], entry["dhash"])


def fingerprint(data: bytes) -> Fingerprint:
    """Return the fingerprint of an encoded image, whether or not it can be decoded."""
    sha256 = sha256_hex(data)
    try:
        small = images.decode_gray(data, SIDE)
    except InvalidImage:
        return Fingerprint(sha256)
    return _hash_gray(sha256, small)


def approximate_fingerprint(data: bytes, pixels: Pixels) -> Fingerprint:
    """Return the fingerprint of an encoded image whose pixels are decoded already; the hashes differ in few bits.

    Equal files have equal hashes. It takes a third of the time of `fingerprint`, which decodes the image.
    """
    return _hash_gray(sha256_hex(data), images.reduce_to_gray(pixels, APPROXIMATE_SIDE))


def _hash_gray(sha256: str, gray: Image.Image) -> Fingerprint:
    return Fingerprint(sha256, _to_int(imagehash.phash(gray)), _to_int(imagehash.dhash(gray)))


def _to_int(image_hash: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(image_hash.hash).tobytes())


def hash_pixels(data: bytes) -> str:
    """Return the SHA-256 of an image's size and pixels; of the file if it cannot be decoded completely."""
    try:
        decoded = images.decode(data)
    except InvalidImage:
        return sha256_hex(data)
    digest = hashlib.sha256(repr(decoded.shape).encode())
    digest.update(decoded.data)
    return digest.hexdigest()
