"""Fingerprints: exact hashes are those of imagehash, approximate ones differ so little that no near pair is missed."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image

from dogbreed.data import images
from dogbreed.data.fingerprints import approximate_fingerprint, fingerprint
from dogbreed.data.near_duplicates import NEAR, SIMILAR
from dogbreed.data.raw.stanford_dogs import StanfordDogs


def encoded(seed: int, width: int, height: int, kind: str = "JPEG") -> bytes:
    """A smooth random picture with some noise and clipped colours, as photos have."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(1.5 * smooth - 64 + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, kind, quality=90)
    return buffer.getvalue()


def differing_bits(data: bytes) -> tuple[int, int]:
    """Return in how many bits of phash and dhash the approximate fingerprint differs from the exact one."""
    exact, rough = fingerprint(data), approximate_fingerprint(data, images.decode(data))
    assert exact.sha256 == rough.sha256
    assert exact.phash is not None
    assert exact.dhash is not None
    assert rough.phash is not None
    assert rough.dhash is not None
    return (exact.phash ^ rough.phash).bit_count(), (exact.dhash ^ rough.dhash).bit_count()


def test_hashes_are_those_of_imagehash() -> None:
    data = encoded(0, 90, 60)
    gray = Image.open(io.BytesIO(data)).convert("L")
    found = fingerprint(data)
    assert (found.phash, found.dhash) == (int(str(imagehash.phash(gray)), 16), int(str(imagehash.dhash(gray)), 16))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(500, 375), (333, 501), (208, 156), (90, 60), (700, 900), (3, 2)])
def test_approximate_hashes_differ_in_fewer_bits_than_the_wider_limits_allow(size: tuple[int, int], kind: str) -> None:
    bits = [differing_bits(encoded(seed, *size, kind)) for seed in range(4)]
    phash, dhash = np.max(bits, axis=0)
    assert phash <= SIMILAR.phash - NEAR.phash
    assert dhash <= SIMILAR.dhash - NEAR.dhash


def test_approximate_hashes_of_dogs_differ_in_few_bits(source: StanfordDogs) -> None:
    bits = [differing_bits(source.read(image)) for image in source.images]
    assert np.mean(bits) < 1
    assert np.max(bits) <= SIMILAR.dhash - NEAR.dhash


@pytest.mark.parametrize(("width", "height", "expected"), [
    (500, 375, (125, 94)), (501, 333, (126, 84)), (208, 156, (208, 156)), (1, 1, (1, 1)), (160, 4000, (80, 2000)),
])  # fmt: skip
def test_pixels_are_halved_while_enough_are_left(width: int, height: int, expected: tuple[int, int]) -> None:
    pixels = np.full((height, width, 3), 77, np.uint8)
    gray = images.reduce_to_gray(pixels, 80)
    assert gray.size == expected
    assert gray.getextrema() == (77, 77)
