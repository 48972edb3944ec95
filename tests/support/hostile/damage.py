"""100 damages of a JPEG, 50 cuts and 50 garbled places: after it was indexed, and before it came into the archive."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from dogbreed.core.storage import LocalStore
from dogbreed.data import images
from dogbreed.data.raw.archive_index import MEMBERS, build_index
from dogbreed.data.raw.stanford_dogs import StanfordDogs
from tests.support.hostile import made
from tests.support.hostile.verdict import ACCEPTED, Item

CUTS, GARBLED = 50, 50
KEY = made.KEYS[2]
NAME = f"Images/{KEY}.jpg"


def damages() -> Iterator[tuple[str, bytes]]:
    """Yield name and damaged bytes of one photo: cut shorter, or 1 to 200 bytes of it replaced at the same length."""
    data = made.photos()[NAME]
    for length in np.linspace(0, len(data) - 1, CUTS).astype(int).tolist():
        yield f"cut to {length} of {len(data)} bytes", data[:length]
    random = np.random.default_rng(0)
    for number in range(GARBLED):
        count = 1 if number < GARBLED // 2 else 200
        at = int(random.integers(0, len(data) - count))
        flipped = bytes(byte ^ int(random.integers(1, 256)) for byte in data[at : at + count])
        yield f"{count} bytes garbled at {at} ({number})", data[:at] + flipped + data[at + count :]


def _damage_later(damaged: bytes, listed: bool, folder: Path) -> str:
    """Change the photo's place in images.tar after it was indexed; a cut photo is filled with zeros."""
    raw = LocalStore(made.write_raw(folder / "raw"))
    if listed:
        raw.put(MEMBERS, build_index(raw).to_json())
    source = StanfordDogs(raw)
    original = made.photos()[NAME]
    whole = raw.read("images.tar")
    assert whole.count(original) == 1
    changed = whole.replace(original, damaged + bytes(len(original) - len(damaged)))
    (raw.root / "images.tar").write_bytes(changed)
    source = StanfordDogs(raw) if listed else source
    photo = next(photo for photo in source.images if photo.source_id == KEY)
    return f"{ACCEPTED}: {images.decode(source.read(photo))!r}"


def damaged_later() -> list[Item]:
    """Return every damage after indexing: the member's SHA-256 tells each, with members.json and without."""
    expected = r"refused 65: Images/.*\.jpg in .*images\.tar differs from its index.*"
    return [
        Item(f"{name}, {'members.json' if listed else 'own index'}", partial(_damage_later, data, listed), expected)
        for name, data in damages()
        for listed in (False, True)
    ]


def _damage_before(damaged: bytes, folder: Path) -> str:
    """Make the archive with the damaged photo; what still decodes are the pixels of this archive and its digest."""
    whole, other = (LocalStore(made.write_raw(folder / name)) for name in ("whole", "other"))
    (other.root / "images.tar").write_bytes(made.tar({**made.photos(), NAME: damaged}))
    source = StanfordDogs(other)
    assert source.digest != StanfordDogs(whole).digest, "the digest of the source does not tell the damage"
    data = source.read(next(photo for photo in source.images if photo.source_id == KEY))
    assert data == damaged
    pixels = np.asarray(images.decode(data))
    assert pixels.ndim == 3, pixels.shape
    return f"{ACCEPTED}: {pixels.shape[1]} x {pixels.shape[0]} pixels under a digest of their own"


def damaged_before() -> list[Item]:
    """Return every damage before indexing: cut photos are quarantined, garbled ones where the decoder can tell."""
    reason = "quarantined: (broken image: .*|not an image of a known format|empty file; .*|.* pixels, limit .*)"
    pixels = r"accepted: \d+ x \d+ pixels under a digest of their own"
    return [
        Item(name, partial(_damage_before, data), reason if name.startswith("cut") else f"({reason}|{pixels})")
        for name, data in damages()
    ]
