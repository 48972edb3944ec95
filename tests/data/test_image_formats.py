"""Image formats: each is decoded by its content, upright where there is no box, and recognized by its first bytes."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dogbreed.data import images
from dogbreed.data.image_formats import FORMATS, HEAD, PNG_SIGNATURE, recognize, suffix_kind
from dogbreed.data.images import InvalidImage

EXACT = {"PNG", "GIF", "BMP", "TIFF"}


def picture() -> Image.Image:
    """Return 40 x 30 pixels: the left half red, the upper half of the right one blue, the rest green."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:, :20] = 200, 20, 20
    pixels[:15, 20:] = 20, 20, 200
    pixels[15:, 20:] = 20, 200, 20
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}), **options)
    return buffer.getvalue()


def with_chunk(png: bytes, kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return a PNG with one more chunk after its header."""
    at = png.index(b"IDAT") - 4
    found = zlib.crc32(kind + content) if checksum is None else checksum
    return png[:at] + struct.pack(">I", len(content)) + kind + content + struct.pack(">I", found) + png[at:]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_of_each_format_is_decoded(kind: str) -> None:
    pixels = images.decode(encoded(picture(), kind)).astype(int)
    limit = 0 if kind in EXACT else 12
    assert np.abs(pixels - np.asarray(picture()).astype(int))[5:10, 5:10].max() <= limit
    assert pixels.shape == (30, 40, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", sorted({*FORMATS} - {"GIF", "BMP"}))  # those hold no EXIF
def test_an_image_without_boxes_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
               4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
               7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}[orientation]  # fmt: skip
    expected = picture() if upright is None else picture().transpose(upright)
    found = images.decode_with_exif_orientation(encoded(picture(), kind, exif=exif))
    assert found.shape == (expected.height, expected.width, 3)
    for row, column in ((4, 4), (4, -5), (-5, 4), (-5, -5)):
        assert np.abs(found[row, column].astype(int) - np.asarray(expected)[row, column]).max() < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    gray = np.linspace(0, 65535, 30 * 40).reshape(30, 40).astype(np.uint16)
    pixels = images.decode(encoded(Image.fromarray(gray), kind))
    assert np.array_equal(pixels, np.dstack([(gray >> 8).astype(np.uint8)] * 3))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_an_unknown_range_are_refused(dtype: type) -> None:
    with pytest.raises(InvalidImage, match="whose range is unknown"):
        images.decode(encoded(Image.fromarray(np.zeros((30, 40), dtype)), "TIFF"))


def test_the_first_frame_of_an_animation_is_used() -> None:
    other = Image.new("RGB", (40, 30))
    for kind in ("GIF", "WEBP", "PNG"):
        pixels = images.decode(encoded(picture(), kind, save_all=True, append_images=[other]))
        assert np.array_equal(pixels[5, 5], (200, 20, 20))


@pytest.mark.parametrize(
    ("kind", "content", "checksum"),
    [
        (b"zTXt", b"k\0\0" + zlib.compress(bytes(3 << 20)), None),
        (b"tEXt", b"k\0" + b"x" * (2 << 20), None),
        (b"iCCP", b"k\0\0" + zlib.compress(bytes(3 << 20)), None),
        (b"tIME", bytes(7), 1),
        (b"eXIf", b"MM\0*", 1),
    ],
    ids=["long zTXt", "long tEXt", "long iCCP", "checksum of tIME", "checksum of eXIf"],
)
def test_ancillary_chunks_of_a_png_do_not_matter(kind: bytes, content: bytes, checksum: int | None) -> None:
    data = with_chunk(encoded(picture(), "PNG"), kind, content, checksum)
    assert np.array_equal(images.decode_with_exif_orientation(data), np.asarray(picture()))


def test_a_png_with_damaged_pixels_is_broken() -> None:
    data = bytearray(encoded(picture(), "PNG"))
    data[data.index(b"IDAT") + 10] ^= 1
    with pytest.raises(InvalidImage, match="broken image"):
        images.decode(bytes(data))


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_recognized_by_its_first_bytes(kind: str) -> None:
    assert recognize(encoded(picture(), kind)[:HEAD]) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", None),
        (b"BMW 320i, 1998", None),
        (b"II", None),
        (b"", None),
        (b"<svg xmlns=", None),
        (PNG_SIGNATURE, "PNG"),
        (b"8BPS\0\1", "PSD"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ],
)
def test_what_is_not_decoded_is_told_apart(head: bytes, kind: str | None) -> None:
    assert recognize(head) == kind


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
XML = b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(100), r"HEIC.*mogrify"),
        (encoded(picture(), "JPEG2000"), r"JPEG 2000.*mogrify"),
        (encoded(picture(), "JPEG2000", no_jp2=True), r"JPEG 2000.*mogrify"),
        (b"8BPS\0\1" + bytes(100), r"PSD.*mogrify"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', r"SVG.*mogrify"),
        (b"\xef\xbb\xbf" + XML + b"<!-- a -->" * 20 + b"<svg/>", r"SVG.*mogrify"),
        (LFS, r"Git LFS pointer.*git lfs pull"),
        (b"\r\n<!DOCTYPE html>\n<title>404</title>", r"web page.*download"),
        (b"<HTML><BODY>Not found", r"web page.*download"),
        (XML + b"<Error><Code>AccessDenied</Code></Error>", r"web page.*download"),
        (b"", r"empty file.*download"),
        (bytes(4096), r"4096 bytes that are all 0.*download"),
        (encoded(picture(), "ICO"), "not an image of a known format"),
        (b"no image", "not an image of a known format"),
    ],
)
def test_the_reason_names_what_is_no_image_and_what_to_do(data: bytes, reason: str) -> None:
    for decode in (images.decode, lambda content: images.decode_gray(content, 32)):
        with pytest.raises(InvalidImage, match=f"^{reason}"):
            decode(data)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "image") for name in ("a/B.JFIF", "a.jpe", "a.avif", "a.x.Tif")),
        *((name, "unsupported") for name in ("a.HEIC", "a.dng")),
        *((name, "other") for name in ("a.csv", "a.mp4", "a.jsonl")),
        *((name, "unknown") for name in ("a", "a.jpg.bak", ".jpg", "a.jpg~")),
    ],
)
def test_a_suffix_tells_what_a_file_is(name: str, kind: str) -> None:
    assert suffix_kind(name) == kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_refer_to_stored_pixels_in_a_tiff_too(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(images.decode(encoded(picture(), "TIFF", exif=exif)), np.asarray(picture()))
