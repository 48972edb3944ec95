"""What the hostile corpora are made of: good photos, annotations and tars, all generated."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

WIDTH, HEIGHT = 64, 48
BREEDS = ("n90000001-Red", "n90000002-Blue-dog")
PER_BREED = 4
KEYS = tuple(f"{breed}/{breed[:9]}_{n}" for breed in BREEDS for n in range(PER_BREED))
BOX = (8, 6, 56, 42)
END = bytes(1024)  # the two empty blocks that close a tar
MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(116)  # savemat writes the time here


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return smooth colours that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def annotation(key: str, *boxes: tuple[object, ...], name: str | None = None) -> bytes:
    """Return the VOC file of a photo; `name` instead of its breed."""
    breed = key.split("/")[0].partition("-")[2]
    objects = (
        f"<object><name>{breed if name is None else name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for box in boxes or (BOX,)
    )
    return f"<annotation>{''.join(objects)}</annotation>".encode()


def photos(keys: Sequence[str] = KEYS) -> dict[str, bytes]:
    """Return the members of a good images.tar by name."""
    return {f"Images/{key}.jpg": encoded(picture(seed)) for seed, key in enumerate(keys)}


def annotations(keys: Sequence[str] = KEYS) -> dict[str, bytes]:
    """Return the members of a good annotation.tar by name."""
    return {f"Annotation/{key}": annotation(key) for key in keys}


def header(name: bytes, size: int | bytes, kind: bytes = b"0", fields: Mapping[int, bytes] | None = None) -> bytes:
    """Return the 512 bytes before a tar's member, their checksum right whatever the fields say.

    `size` may be the field itself; `fields` are more of them by offset.
    """
    block = bytearray(512)
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    parts = {0: name[:100], 100: b"0000644\0" * 3, 124: field, 136: b"%011o\0" % 0, 156: kind, 257: b"ustar  \0"}
    for offset, value in (parts | dict(fields or {})).items():
        block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: str | bytes, content: bytes, kind: bytes = b"0") -> bytes:
    """Return header, content and padding of one member."""
    raw = name if isinstance(name, bytes) else name.encode()
    return header(raw, len(content), kind) + content + bytes(-len(content) % 512)


def tar(files: Mapping[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a whole tar as tarfile writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def lists(keys: Sequence[str] = KEYS, labels: Sequence[int] | None = None) -> dict[str, bytes]:
    """Return the members of lists.tar: every fourth photo of a breed is for test, labels count the breeds from 1."""
    breeds = sorted({key.split("/")[0] for key in keys})
    numbers = labels or [breeds.index(key.split("/")[0]) + 1 for key in keys]
    rows = list(zip(keys, numbers, strict=True))
    test = [row for row in rows if int(row[0].rpartition("_")[2]) % 4 == 3]
    train = [row for row in rows if row not in test]
    return {f"{name}_list.mat": _mat(part) for name, part in (("file", rows), ("train", train), ("test", test))}


def _mat(rows: Sequence[tuple[str, int]]) -> bytes:
    cells = {
        "file_list": np.array([f"{key}.jpg" for key, _ in rows], object).reshape(-1, 1),
        "annotation_list": np.array([key for key, _ in rows], object).reshape(-1, 1),
        "labels": np.array([[float(label)] for _, label in rows]),
    }
    buffer = io.BytesIO()
    savemat(buffer, cells)
    return MAT_HEADER + buffer.getvalue()[len(MAT_HEADER) :]


def archives(keys: Sequence[str]) -> dict[str, bytes]:
    """Return good archives of other keys, as `write_raw` takes them."""
    return {"images": tar(photos(keys)), "annotation": tar(annotations(keys)), "lists": tar(lists(keys))}


def write_raw(folder: Path, **archives: bytes) -> Path:
    """Write the three archives, good ones where `archives` has none, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, files in (("images", photos), ("annotation", annotations), ("lists", lists)):
        (folder / f"{name}.tar").write_bytes(archives[name] if name in archives else tar(files()))
    return folder
