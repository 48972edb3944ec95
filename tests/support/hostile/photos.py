"""Odd photos: bombs that are refused by their size, other formats, and every kind of JPEG and PNG with its pixels."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dogbreed.data import images
from tests.support.hostile import made
from tests.support.hostile.verdict import ACCEPTED, Item

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
WIDTH, HEIGHT = made.WIDTH, made.HEIGHT
NEITHER = "quarantined: not an image of a known format"
NOT_DECODED = "quarantined: .*, which is not decoded; .*"
BROKEN = "quarantined: broken image: .*"
TOO_LARGE = r"quarantined: (\d+ x \d+ pixels, limit \d+.*|broken image: Image size .* exceeds limit .*)"
ROTATE, ADOBE = 0x0112, b"\xff\xee\x00\x0eAdobe"


@cache
def zeros(count: int) -> bytes:
    """Return `count` zero bytes as zlib packs them, a thousandth of that."""
    packer = zlib.compressobj(9)
    blocks = [packer.compress(bytes(min(1 << 20, count - at))) for at in range(0, count, 1 << 20)]
    return b"".join(blocks) + packer.flush()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, kind: int, packed: bytes, extra: bytes = b"") -> bytes:
    """Return a PNG whose packed lines may be anything; `kind` is its colour type."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def resized(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose header claims another size."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def sampled(data: bytes, factors: int) -> bytes:
    """Return a 4:2:0 JPEG of other sampling with as many blocks: 0x41 is 4:1:1, 0x14 is 4:4:1."""
    at = data.find(b"\xff\xc0") + 11
    assert data[at] == 0x22
    return data[:at] + bytes([factors]) + data[at + 1 :]


def segment(marker: int, content: bytes) -> bytes:
    """Return an APP segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Yield photos that would take much memory or time."""
    jpeg = made.encoded(made.picture(0))
    yield "PNG of 30,000 x 30,000", png((30_000, 30_000), 8, 0, b"x"), TOO_LARGE
    yield "whole PNG of 12,000 x 12,000", png((12_000, 12_000), 8, 0, zeros(12_000 * 12_001)), TOO_LARGE
    yield "whole bilevel PNG of 12,000 x 12,000", png((12_000, 12_000), 1, 0, zeros(12_000 * 1501)), TOO_LARGE
    yield "JPEG of 65,500 x 65,500", resized(jpeg, 65_500, 65_500), TOO_LARGE
    yield "JPEG of 8,000 x 8,000", resized(jpeg, 8000, 8000), TOO_LARGE
    yield "JPEG of 7,000 x 7,000 with data for 64 x 48", resized(jpeg, 7000, 7000), BROKEN
    yield "PNG of 7,000 x 7,000, just allowed", png((7000, 7000), 8, 6, zeros(7000 * 28_001)), r"accepted: \(7000, .*"
    yield "PNG of 1 x 70,000, which no JPEG can be", png((1, 70_000), 8, 0, zeros(140_000)), TOO_LARGE
    yield "JPEG without a line", resized(jpeg, 64, 0), f"({NEITHER}|{BROKEN})"
    yield "PNG without a pixel", png((0, 0), 8, 0, zeros(1)), NEITHER
    lines = zeros(HEIGHT * (WIDTH + 1))
    bomb = zeros(1 << 28)
    for kind, head in ((b"zTXt", b"k\0\0"), (b"iCCP", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0")):
        bomb_png = png((WIDTH, HEIGHT), 8, 0, lines, chunk(kind, head + bomb))
        yield f"256 MB in a {kind.decode()} chunk", bomb_png, r"accepted: \(48, 64, 3\)"


def strangers() -> Iterator[tuple[str, bytes, str]]:
    """Yield files of other kinds that are named .jpg."""
    for kind in ("PPM", "ICO", "JPEG2000", "TGA", "PCX", "SGI", "ICNS"):
        yield kind, made.encoded(made.picture(0), kind), NOT_DECODED if kind == "JPEG2000" else NEITHER
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', NOT_DECODED
    yield "HTML", b"<html>404 Not Found</html>", "quarantined: web page.*"
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n(x) run\n", NEITHER
    yield "JPEG header alone", made.encoded(made.picture(0))[:20], f"({NEITHER}|{BROKEN})"
    yield "1 MB of 0xff", b"\xff" * 1_000_000, f"({NEITHER}|{BROKEN})"


def kinds() -> Iterator[tuple[str, bytes, Pixels, int]]:
    """Yield photos to accept, with the pixels that they must have and the largest error that their codec may add."""
    photo = made.picture(1)
    rgb, gray = np.asarray(photo), np.asarray(photo.convert("L"))
    jpeg = made.encoded(photo, quality=95)
    by_pillow = np.asarray(Image.open(io.BytesIO(jpeg)))
    for orientation in range(1, 9):  # boxes refer to stored pixels
        exif = Image.Exif()
        exif[ROTATE] = orientation
        yield f"EXIF orientation {orientation}", made.encoded(photo, quality=95, exif=exif), by_pillow, 2
    yield "progressive JPEG", made.encoded(photo, quality=95, progressive=True), by_pillow, 2
    yield "JPEG in gray", made.encoded(photo.convert("L"), quality=95), np.dstack([gray] * 3), 12
    yield (
        "JPEG with a thumbnail",
        _inserted(jpeg, segment(0xE1, b"Exif\0\0" + made.encoded(made.picture(2)))),
        by_pillow,
        2,
    )
    profile = _inserted(jpeg, segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000)))
    yield "JPEG with an ICC profile of 64 KB", profile, by_pillow, 2
    yield "JPEG with 3 MB of APP segments", _inserted(jpeg, segment(0xEF, bytes(65_000)) * 48), by_pillow, 2
    yield "JPEG with zeros after its end", jpeg + bytes(5000), by_pillow, 2
    for name, factors in (("4:1:1", 0x41), ("4:4:1", 0x14)):
        other = sampled(made.encoded(made.picture(1, 64, 64), subsampling="4:2:0"), factors)
        yield f"JPEG sampled {name}", other, np.asarray(Image.open(io.BytesIO(other))), 60
    cmyk = made.encoded(photo.convert("CMYK"), quality=95)
    yield "JPEG in CMYK, inverted as Adobe does", cmyk, rgb, 40
    ycck = cmyk.replace(ADOBE + cmyk[cmyk.find(ADOBE) + 9 :][:6], ADOBE + cmyk[cmyk.find(ADOBE) + 9 :][:5] + b"\2")
    assert ycck != cmyk
    yield "JPEG in YCCK", ycck, np.asarray(Image.open(io.BytesIO(ycck)).convert("RGB")), 2
    yield "PNG named .jpg", made.encoded(photo, "PNG"), rgb, 0
    yield (
        "PNG with a palette",
        made.encoded(photo.quantize(64), "PNG"),
        np.asarray(photo.quantize(64).convert("RGB")),
        0,
    )
    frames = made.encoded(photo, "PNG", save_all=True, append_images=[made.picture(2)])
    yield "animated PNG: its first frame", frames, rgb, 0
    yield "PNG, 16 bits a colour", _deep(rgb), rgb, 0
    yield "PNG, 16 bits of gray", _deep(gray), np.dstack([gray] * 3), 0
    clear = photo.copy()
    clear.putalpha(0)
    yield "PNG, transparent: the colours below", made.encoded(clear, "PNG"), rgb, 0
    yield "PNG of 1 x 1", made.encoded(made.picture(1, 1, 1), "PNG"), np.asarray(made.picture(1, 1, 1)), 0
    yield "PNG of 1 x 5,000", made.encoded(made.picture(1, 1, 5000), "PNG"), np.asarray(made.picture(1, 1, 5000)), 0
    yield "256 MB behind the pixels of a PNG", png((64, 48), 8, 0, zeros(1 << 28)), np.zeros((48, 64, 3), np.uint8), 0


def _inserted(jpeg: bytes, segments: bytes) -> bytes:
    return jpeg[:2] + segments + jpeg[2:]


def _deep(pixels: Pixels) -> bytes:
    """Return pixels as a PNG of 16 bits a channel: each byte is followed by another."""
    lines = np.stack([pixels, 255 - pixels], -1).reshape(len(pixels), -1)
    packed = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    return png((pixels.shape[1], pixels.shape[0]), 16, 2 if pixels.ndim == 3 else 0, packed)


def decode(data: bytes, folder: Path) -> str:
    """Decode; return the shape."""
    pixels = np.asarray(images.decode(data))
    return f"{ACCEPTED}: {pixels.shape}"


def compare(data: bytes, wanted: Pixels, error: int, folder: Path) -> str:
    """Decode and compare; a record of it is an RGB JPEG of the same size."""
    pixels = np.asarray(images.decode(data))
    assert pixels.shape == wanted.shape, f"{pixels.shape}, not {wanted.shape}"
    difference = int(np.abs(pixels.astype(int) - wanted).max())
    record = Image.open(io.BytesIO(images.encode(pixels)))
    assert (record.format, record.mode, record.size) == ("JPEG", "RGB", (wanted.shape[1], wanted.shape[0]))
    return f"{ACCEPTED}: " + (
        f"within {error}" if difference <= error else f"off by {difference} of 255, more than {error}"
    )


def odd_photos() -> list[Item]:
    """Return every odd photo."""
    items = [Item(name, partial(decode, data), wanted) for name, data, wanted in (*bombs(), *strangers())]
    return items + [
        Item(name, partial(compare, data, wanted, error), f"accepted: within {error}")
        for name, data, wanted, error in kinds()
    ]
