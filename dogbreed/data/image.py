"""One photo: decode, crop, resize, encode, all with Pillow."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from dogbreed.data.annotation import Box

PIXEL_LIMIT = 50_000_000  # the largest published photo has 8.4 million
JPEG_QUALITY = 95
FORMATS = ("JPEG", "PNG")  # n02105855_2933.jpg is a PNG


class BadPhoto(ValueError):
    """A photo that cannot be used; the text is the reason kept in the quarantine."""


def versions() -> dict[str, str]:
    """Return the versions of everything that determines the bytes of a crop and which photos are copies."""
    return {
        "pillow": version("pillow"),
        "libjpeg-turbo": str(features.version_feature("libjpeg_turbo")),
        "imagehash": version("imagehash"),
    }


def decode(data: bytes) -> Image.Image:
    """Return the photo as RGB in stored orientation, which is the one that boxes refer to.

    Raises BadPhoto for anything but a whole JPEG or PNG of at most PIXEL_LIMIT pixels.
    """
    with _reasons():
        return _opened(data).convert("RGB")


def decode_gray(data: bytes, side: int) -> Image.Image:
    """Return the photo as 8-bit gray; a JPEG is reduced while it is decoded, to no less than `side` pixels a side.

    Raises BadPhoto like `decode`.
    """
    with _reasons():
        opened = _opened(data)
        opened.draft("L", (side, side))
        return opened.convert("L")


def _opened(data: bytes) -> Image.Image:
    opened = Image.open(io.BytesIO(data), formats=FORMATS)
    if math.prod(opened.size) > PIXEL_LIMIT:
        raise BadPhoto(f"{opened.width} x {opened.height} pixels, limit {PIXEL_LIMIT}")
    return opened


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn Pillow's exceptions into BadPhoto."""
    try:
        yield
    except BadPhoto:
        raise
    except UnidentifiedImageError as error:
        raise BadPhoto("neither JPEG nor PNG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadPhoto(f"broken image: {error}") from error


def visible(box: Box, image: Image.Image) -> Box:
    """Return the part of `box` inside the photo; BadPhoto when that is less than one pixel."""
    inside = box.clip(*image.size)
    if not (inside.width >= 1 and inside.height >= 1):  # also for coordinates that are no numbers
        raise BadPhoto(f"box {box.left:g},{box.top:g},{box.right:g},{box.bottom:g} holds no pixel of the photo")
    return inside


def crop(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Return the box, its aspect kept, with a shorter side of `size` pixels; never enlarged."""
    factor = min(1.0, size / min(box.width, box.height))
    shape = (max(1, round(box.width * factor)), max(1, round(box.height * factor)))
    return image.resize(shape, Image.Resampling.LANCZOS, box=(box.left, box.top, box.right, box.bottom))


def encode(image: Image.Image) -> bytes:
    """Return the photo as a baseline JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def contact_sheet(photos: list[bytes], side: int, columns: int = 12) -> Image.Image:
    """Return encoded photos as one picture of `side` x `side` pixel tiles, row by row."""
    rows = math.ceil(len(photos) / columns)
    sheet = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for index, photo in enumerate(photos):
        tile = np.asarray(decode(photo).resize((side, side)))
        y, x = divmod(index, columns)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = tile
    return Image.fromarray(sheet)
