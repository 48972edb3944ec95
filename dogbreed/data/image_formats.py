"""Image formats: those that are decoded, and how the format of a file is recognized by its suffix or first bytes."""

import mimetypes
import zlib
from pathlib import PurePosixPath

from PIL import Image, features


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
NAMES = ", ".join(FORMATS)  # for messages
CONVERT = "convert it to JPEG, for example with ImageMagick: mogrify -format jpg FILE"
SUFFIXES = _suffixes("jpg jpeg jpe jfif jif mpo png apng webp gif bmp dib tif tiff avif")  # of these formats
UNSUPPORTED_SUFFIXES = _suffixes(  # of images that are not decoded; a camera's raw file begins like a TIFF
    "heic heif hif jxl jp2 j2k svg psd xcf ico tga ppm pgm pbm pnm exr hdr "
    "dng cr2 cr3 nef nrw arw srf orf rw2 raf pef raw rwl 3fr"
)
OTHER_SUFFIXES = _suffixes(  # not of images, and unknown to mimetypes
    "md rst jsonl ndjson yaml yml toml ini cfg log ipynb mat npy npz pt pth pkl parquet tfrecord db docx xlsx 7z xz"
)
HEAD = 64  # bytes of a file that `recognize` reads
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
UNSUPPORTED_SIGNATURES = {  # first bytes -> image format that is not decoded
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"8BPS": "PSD",
}
LFS_SIGNATURE = b"version https://git-lfs.github.com/spec/"
LFS_POINTER = "Git LFS pointer instead of the file; run: git lfs pull"
UNKNOWN = "not an image of a known format"
TEXT_HEAD = 1024  # bytes in which a page or an SVG has its first element
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
PNG_EXIF = b"eXIf"

_TYPES = mimetypes.MimeTypes()  # Python's own table, not the machine's


def suffix_kind(key: str) -> str:
    """Return what the suffix of a file says: image, unsupported (an image that is not decoded), other, or unknown."""
    suffix = PurePosixPath(key).suffix.lower()
    if suffix in SUFFIXES:
        return "image"
    if suffix in UNSUPPORTED_SUFFIXES:
        return "unsupported"
    guessed, _ = _TYPES.guess_type(f"a{suffix}")
    if suffix in OTHER_SUFFIXES or (guessed and not guessed.startswith("image/")):
        return "other"
    return "unknown"


def recognize(head: bytes) -> str | None:
    """Return the format of an image by its first HEAD bytes, None for anything else; only FORMATS are decoded."""
    if head[4:8] == b"ftyp":
        brands = [head[at : at + 4] for at in range(8, len(head), 4)]
        if not any(brand in AVIF_BRANDS for brand in brands):
            return "HEIC" if any(brand in HEIC_BRANDS for brand in brands) else None
    if head[:2] == b"BM" and head[6:10] != bytes(4):  # text may begin so; these bytes of a BMP are reserved
        return None
    for signature, name in UNSUPPORTED_SIGNATURES.items():
        if head.startswith(signature):
            return name
    Image.init()
    return next((name for name in FORMATS if Image.OPEN[name][1](head)), None)  # type: ignore[misc]


def describe_unknown(data: bytes) -> str:
    """Return what a file is that no decoder recognizes, and what to do about it."""
    text = data[:TEXT_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    name = recognize(data[:HEAD])
    if text.startswith(b"<") and b"<svg" in text:
        name = "SVG"
    if name and name not in FORMATS:
        return f"{name}, which is not decoded; {CONVERT}"
    if data.startswith(LFS_SIGNATURE):
        return LFS_POINTER
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "web page, perhaps the error message of a server; download the image again"
    if not data:
        return "empty file; copy or download it again"
    if not data.strip(b"\0"):
        return f"{len(data)} bytes that are all 0; copy or download it again"
    return UNKNOWN


def strip_png(data: bytes) -> bytes:
    """Return a PNG without its ancillary chunks but EXIF; other data unchanged.

    Pillow refuses a whole image for a long text, or for a wrong checksum of a chunk that does not concern the pixels.
    """
    if not data.startswith(PNG_SIGNATURE):
        return data
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        checksum = int.from_bytes(data[end - 4 : end], "big")
        is_valid_exif = kind == PNG_EXIF and end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == checksum
        if kind in PNG_KEPT or is_valid_exif:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)
