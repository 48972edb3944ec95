"""Fingerprints of images: SHA-256 of file and pixels, and two perceptual hashes.

The hashes have 64 bits each, as `imagehash` computes them (http://www.hackerfactor.com/blog, "Looks Like It" and "Kind
of Like That").
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import imagehash

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.data import images
from dogbreed.data.images import InvalidImage
from dogbreed.data.raw import Source, SourceImage

SIDE = 96  # pixels to which a JPEG is reduced while it is decoded: three times what the hashes look at


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
    return Fingerprint(sha256, _to_int(imagehash.phash(small)), _to_int(imagehash.dhash(small)))


def _to_int(image_hash: imagehash.ImageHash) -> int:
    return int(str(image_hash), 16)


def fingerprint_all(source: Source, images: Sequence[SourceImage], pool: ThreadPoolExecutor) -> dict[str, Fingerprint]:
    """Read the images and return source id -> fingerprint, in their order."""
    fingerprints = pool.map(lambda image: fingerprint(source.read(image)), images)
    return {image.source_id: entry for image, entry in zip(images, fingerprints, strict=True)}


def hash_pixels(data: bytes) -> str:
    """Return the SHA-256 of an image's size and pixels; of the file if it cannot be decoded completely."""
    try:
        decoded = images.decode(data)
    except InvalidImage:
        return sha256_hex(data)
    digest = hashlib.sha256(repr(decoded.shape).encode())
    digest.update(decoded.data)
    return digest.hexdigest()
