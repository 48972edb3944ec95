"""MATLAB 5 files like those in lists.tar: cells of strings and arrays of numbers.

Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf. scipy.io.loadmat trusts the lengths
in a file: 2 of 60 lists with one wrong byte ended the process with a segmentation fault (scipy 1.17).
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

HEADER = 128  # bytes before the first variable
LIMIT = 64 << 20  # bytes of a variable, unpacked; the largest published one has 3 MB
MATRIX, COMPRESSED = 14, 15  # types of elements
CELL, CHAR = 1, 4  # classes of arrays
NUMERIC = range(6, 16)
NUMBERS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
TEXTS = {1: "ascii", 2: "ascii", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}


def read_matlab(data: bytes) -> dict[str, list[str] | list[float]]:
    """Return the cells of strings and the arrays of numbers by name; ValueError for a damaged file.

    Variables of other kinds are left out.
    """
    if data[124:HEADER] != b"\x00\x01IM":
        raise ValueError("not a little-endian MATLAB 5 file")
    variables = {}
    for kind, content in _elements(data[HEADER:]):
        if kind == COMPRESSED:
            ((kind, content),) = _elements(_unpack(content))
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind}")
        name, value = _array(content)
        if value is not None:
            variables[name] = value
    return variables


def _unpack(content: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(content, LIMIT)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError(f"a variable that is cut or has more than {LIMIT} bytes")
    return unpacked


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each element: a tag of 8 bytes, or 4 with up to 4 of content."""
    at = 0
    while at < len(data):
        if len(data) < at + 8:
            raise ValueError("cut in a tag")
        kind, size = struct.unpack_from("<II", data, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        content = data[start : start + size]
        if len(content) < size or (start == at + 4 and size > 4):
            raise ValueError(f"an element of {size} bytes is cut")
        yield kind, content
        at = max(at + 8, start + size)
        at += 0 if kind == COMPRESSED else -at % 8


def _array(content: bytes) -> tuple[str, list[str] | list[float] | None]:
    """Return name and values of an array; of a cell, its strings; None for another class."""
    (_, flags), (_, shape), (_, name), *parts = _elements(content)
    count = int(np.prod(np.frombuffer(shape, "<i4"), dtype=np.float64))
    kind = flags[0] if flags else 0
    value: list[str] | list[float]
    if kind == CELL:
        value = [_text(part) for _, part in parts]
    elif kind in NUMERIC and parts and parts[0][0] in NUMBERS:
        value = np.frombuffer(parts[0][1], NUMBERS[parts[0][0]]).astype(float).tolist()
    else:
        return name.decode("ascii"), None
    if len(value) != count:
        raise ValueError(f"an array of shape {count} with {len(value)} values")
    return name.decode("ascii"), value


def _text(content: bytes) -> str:
    (_, flags), (_, shape), _, (kind, text) = _elements(content)
    if flags[:1] != bytes([CHAR]) or kind not in TEXTS:
        raise ValueError("a cell with something else than a string")
    string = text.decode(TEXTS[kind])
    if struct.pack("<ii", 1, len(string)) != shape:
        raise ValueError("a string whose length is not its shape")
    return string
