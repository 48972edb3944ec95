"""Decode, crop, resize and encode one image; EXIF orientation of images without boxes."""

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from dogbreed.data.boxes import Box
from dogbreed.data.image_formats import FORMATS, describe_unknown, strip_png

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]  # [height, width, 3], RGB

cv2.setNumThreads(1)  # images are resized on several threads already
PIXEL_LIMIT = 50_000_000  # the largest published image has 8.4 million
SIDE_LIMIT = 65_500  # pixels: what libjpeg can write
ROWS_AT_ONCE = 256  # of an image that Pillow converts to RGB
JPEG_QUALITY = 95
WIDE_GRAY = ("I;16", "I;16B", "I;16L", "I;16N")  # modes of 16 bits, which convert() would clip instead of scaling them


class InvalidImage(ValueError):
    """An image that cannot be used; the text is the reason that the manifest keeps."""


def versions() -> dict[str, str]:
    """Return the versions of everything that determines the bytes of a crop and which images are duplicates."""
    return {
        "pillow": version("pillow"),
        "libjpeg-turbo": str(features.version_feature("libjpeg_turbo")),
        "simplejpeg": version("simplejpeg"),
        "opencv": version("opencv-python-headless"),
        "imagehash": version("imagehash"),
    }


def decode(data: bytes, side: int = 0) -> Pixels:
    """Return the image as uint8 [height, width, 3], RGB, in stored orientation, which is the one that boxes refer to.

    With a `side` in pixels a JPEG is reduced while it is decoded, to no less than that in height and width.

    Raises:
        InvalidImage: anything but a complete image of one of FORMATS with at most PIXEL_LIMIT pixels.
    """
    with _reasons(data):
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            _check_pixels(width, height)
            return np.asarray(simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side))
        except InvalidImage:
            raise
        except (ValueError, KeyError) as error:  # no JPEG, CMYK, 4:4:1, damaged: Pillow reads more, and tells why not
            if "premature end" in str(error):  # Pillow accepts an early end marker and fills the rest with gray
                raise InvalidImage(f"broken image: {error}") from error
            return _decode_by_pillow(data)


def decode_with_exif_orientation(data: bytes, name: str = "an image") -> Pixels:
    """Return what `decode` does, rotated by the EXIF orientation; for images without a box. `name` is for the log."""
    return rotate_by_exif(decode(data), data, name)


def rotate_by_exif(pixels: Pixels, data: bytes, name: str = "an image") -> Pixels:
    """Return the upright image of the stored pixels of the encoded image `data`."""
    return _rotate(pixels, _exif_orientation(data, name))


def _rotate(pixels: Pixels, orientation: int) -> Pixels:
    """Return the upright image of stored pixels with this EXIF orientation."""
    if orientation == 1:
        return pixels
    image = Image.fromarray(pixels)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def _exif_orientation(data: bytes, name: str) -> int:
    """Return the EXIF orientation, 1 (upright) to 8."""
    try:
        with Image.open(io.BytesIO(strip_png(data)), formats=FORMATS) as opened:
            return int(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # the image itself is complete, and Pillow raises anything for damaged EXIF
        log.warning("damaged EXIF in %s (%s): the image is used without rotation", name, error)
        return 1


def decode_gray(data: bytes, side: int) -> Image.Image:
    """Return the image as 8-bit gray; a JPEG is reduced while it is decoded, to no less than `side` pixels a side.

    Raises:
        InvalidImage: as `decode`.
    """
    with _reasons(data):
        opened = _open_image(data)
        opened.draft("L", (side, side))
        return opened.convert("L")


def reduce_to_gray(pixels: Pixels, side: int) -> Image.Image:
    """Return pixels as 8-bit gray, halved as often as at least `side` pixels a side are left.

    Each new pixel is the mean of a block, as in a JPEG that `decode_gray` reduces, up to rounding and where colours
    were clipped to 0-255. OpenCV has a fast path for halves only: a factor of 4 at once takes five times as long.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    while min(gray.shape) >= 2 * side:
        height, width = gray.shape
        if height % 2 or width % 2:
            gray = cv2.copyMakeBorder(gray, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        gray = cv2.resize(gray, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    return Image.fromarray(gray)


def _decode_by_pillow(data: bytes) -> Pixels:
    """Return the stored pixels; Pillow turns a TIFF upright while it decodes, which is undone."""
    opened = _open_image(data)
    orientation = int(opened.getexif().get(ExifTags.Base.Orientation, 1)) if opened.format == "TIFF" else 1
    return _rotate(_to_rgb(opened), {6: 8, 8: 6}.get(orientation, orientation))


def _to_rgb(opened: Image.Image) -> Pixels:
    """Return the pixels in RGB; some rows at a time take a third less memory than the whole image at once."""
    width, height = opened.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = opened.crop((0, top, width, min(top + ROWS_AT_ONCE, height)))
        pixels[top : top + ROWS_AT_ONCE] = np.asarray(rows.convert("RGB"))
    return pixels


def _open_image(data: bytes) -> Image.Image:
    opened = Image.open(io.BytesIO(strip_png(data)), formats=FORMATS)
    _check_pixels(*opened.size)
    if opened.mode in WIDE_GRAY:
        return Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    if opened.mode in ("I", "F"):
        raise InvalidImage(
            f"pixels of 32 bits (mode {opened.mode}), whose range is unknown; convert it to 8 or 16 bits"
        )
    return opened


def _check_pixels(width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT:
        raise InvalidImage(f"{width} x {height} pixels, limit {PIXEL_LIMIT}")
    if max(width, height) > SIDE_LIMIT:
        raise InvalidImage(f"{width} x {height} pixels, limit {SIDE_LIMIT} a side")


@contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """Translate Pillow's exceptions into InvalidImage."""
    try:
        yield
    except (InvalidImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InvalidImage(describe_unknown(data)) from error
    except Exception as error:  # its plugins raise anything for damaged files
        raise InvalidImage(f"broken image: {error}") from error


def full_box(pixels: Pixels) -> Box:
    """Return the box around the whole image."""
    height, width, _ = pixels.shape
    return Box(0, 0, width, height)


def clip_to_image(box: Box, pixels: Pixels) -> Box:
    """Return the part of `box` inside the image; InvalidImage if that is less than one pixel."""
    height, width, _ = pixels.shape
    inside = box.clip(width, height)
    if not (inside.width >= 1 and inside.height >= 1):  # also true for NaN
        raise InvalidImage(f"box {box.left:g},{box.top:g},{box.right:g},{box.bottom:g} holds no pixel of the image")
    return inside


def crop(pixels: Pixels, box: Box, size: int, resample: str = "lanczos", squash: bool = False) -> Pixels:
    """Return the box, its aspect kept, with a shorter side of `size` pixels; never enlarged.

    `squash` reduces the longer side to the shorter. `resample` is lanczos, or area: the mean of the old pixels under
    each new one, in a fifth of the time, from the box's nearest whole pixels.
    """
    factor = min(1.0, size / min(box.width, box.height))
    shape = (max(1, round(box.width * factor)), max(1, round(box.height * factor)))
    if squash:
        shape = (min(shape), min(shape))
    if resample == "lanczos":
        sides = (box.left, box.top, box.right, box.bottom)
        return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS, box=sides))
    left, top = math.floor(box.left), math.floor(box.top)
    right, bottom = max(left + 1, round(box.right)), max(top + 1, round(box.bottom))
    return _area(pixels[top:bottom, left:right], shape)


def _area(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    """Return the mean of several bilinear samples for each new pixel, so many that no old pixel is skipped.

    OpenCV computes a mean over whole numbers of pixels in half the time of its area mode for other factors, and the
    result is as near to Lanczos (within 2 dB below a factor of 1.5, 0.5 dB above).
    """
    height, width, _ = pixels.shape
    if (width, height) == shape:
        return pixels
    wide, high = (new * max(2, math.ceil(old / new)) for old, new in zip((width, height), shape, strict=True))
    finer = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(finer, shape, interpolation=cv2.INTER_AREA), np.uint8)


def encode(pixels: Pixels) -> bytes:
    """Return the image as a baseline JPEG; Pillow writes the same bytes, slower."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def contact_sheet(encoded: list[bytes], side: int, columns: int = 12) -> Image.Image:
    """Return encoded images as one figure of `side` x `side` pixel tiles, row by row."""
    rows = math.ceil(len(encoded) / columns)
    sheet = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for index, data in enumerate(encoded):
        tile = np.asarray(Image.fromarray(decode(data, side)).resize((side, side)))
        y, x = divmod(index, columns)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = tile
    return Image.fromarray(sheet)
