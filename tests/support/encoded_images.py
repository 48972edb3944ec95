"""Small images of 20 x 30 pixels and their files."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

BLACK, WHITE = 0, 255


def encoded(pixels: Any, mode: str = "RGB", kind: str = "JPEG", **options: Any) -> bytes:
    """Return pixels as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def flat(value: int) -> np.ndarray:
    """Return an image of one gray value."""
    return np.full((20, 30, 3), value, np.uint8)


def upper_white() -> np.ndarray:
    """Return a black image with a white upper half."""
    image = flat(BLACK)
    image[:10] = WHITE
    return image


def claims_to_be(width: int, height: int) -> bytes:
    """Return a small PNG whose header says that it is larger."""
    image = bytearray(encoded(upper_white(), kind="PNG"))
    header = image.index(b"IHDR")
    image[header + 4 : header + 12] = struct.pack(">II", width, height)
    image[header + 17 : header + 21] = struct.pack(">I", zlib.crc32(image[header : header + 17]))
    return bytes(image)
