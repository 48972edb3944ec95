"""WebP, GIF, BMP, TIFF and AVIF: whole, cut, garbled, and with a header that claims another size."""

import io
import struct
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from dogbreed.data.image_formats import FORMATS
from tests.support.hostile import made
from tests.support.hostile.photos import BROKEN, NEITHER, TOO_LARGE, compare, decode
from tests.support.hostile.verdict import Item

OTHERS = tuple(kind for kind in FORMATS if kind not in ("JPEG", "PNG"))
OPTIONS = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "TIFF": {"compression": "tiff_lzw"}}
ERROR = {"GIF": 60, "AVIF": 20}  # of 255, that a palette or the codec may add; else 0
CUTS, GARBLED = 7, 8
GONE = f"({BROKEN}|{NEITHER}|{TOO_LARGE})"


def other_formats() -> list[Item]:
    """Return 20 items of each format."""
    return [item for kind in OTHERS for item in _items(kind)]


def _items(kind: str) -> Iterator[Item]:
    photo, options, error = made.picture(3), OPTIONS.get(kind, {}), ERROR.get(kind, 0)
    pixels, data = np.asarray(photo), made.encoded(photo, kind, **options)
    whole = {"whole": data, "zeros after its end": data + bytes(5000), "two frames": _frames(kind, options)}
    for name, good in whole.items():
        yield Item(f"{kind}, {name}", partial(compare, good, pixels, error), f"accepted: within {error}")
    for length in np.linspace(0.1, 0.9, CUTS) * len(data):
        yield Item(f"{kind}, cut to {int(length)} of {len(data)} bytes", partial(decode, data[: int(length)]), GONE)
    random = np.random.default_rng(0)
    for number in range(GARBLED):
        at, count = int(random.integers(4, len(data) - 40)), 1 if number % 2 else 40
        flipped = bytes(byte ^ int(random.integers(1, 256)) for byte in data[at : at + count])
        damaged = data[:at] + flipped + data[at + count :]
        yield Item(f"{kind}, {count} bytes garbled at {at}", partial(decode, damaged), rf"({GONE}|accepted: \(.*)")
    yield Item(f"{kind} that claims 60,000 x 60,000 pixels", partial(decode, _enlarged(kind, data, 60_000)), GONE)
    enlarged = r"accepted: \(7000, 7000, 3\)" if kind == "AVIF" else GONE  # libavif scales the pixels that are there
    yield Item(f"{kind} that claims 7,000 x 7,000 pixels", partial(decode, _enlarged(kind, data, 7000)), enlarged)


def _frames(kind: str, options: dict[str, object]) -> bytes:
    """Return the picture, followed by another frame or page where the format has them."""
    if kind == "BMP":
        return made.encoded(made.picture(3), kind) * 2
    return made.encoded(made.picture(3), kind, save_all=True, append_images=[made.picture(4)], **options)


def _enlarged(kind: str, data: bytes, side: int) -> bytes:
    """Return the data with the sides in its headers replaced."""
    width, height = Image.open(io.BytesIO(data)).size
    sides = {
        "GIF": (struct.pack("<HH", width, height), struct.pack("<HH", side, side)),
        "BMP": (struct.pack("<ii", width, height), struct.pack("<ii", side, side)),
        "AVIF": (struct.pack(">II", width, height), struct.pack(">II", side, side)),
    }
    if kind == "WEBP":  # lossless: 14 bits for each side, after the signature of the chunk
        at = data.index(b"VP8L") + 9
        bits = int.from_bytes(data[at : at + 4], "little") & ~0xFFFFFFF
        packed = bits | (min(side, 16_384) - 1) << 14 | (min(side, 16_384) - 1)
        return data[:at] + packed.to_bytes(4, "little") + data[at + 4 :]
    if kind == "TIFF":  # entries of tags 256 and 257, whose value is their last four bytes
        for tag, length in ((256, width), (257, height)):
            old = struct.pack("<HHII", tag, 3, 1, length)
            other = struct.pack("<HHII", tag, 4, 1, length)
            assert old in data or other in data
            new = struct.pack("<HHII", tag, 4, 1, side)
            data = data.replace(old, new).replace(other, new)
        return data
    old, new = sides[kind]
    assert old in data
    return data.replace(old, new)
