"""Small trees and CIFAR-shaped archives for tests: the class is a colour."""

import io
import tarfile

import numpy as np
from PIL import Image

from dogbreed.core.storage import Store
from dogbreed.data.raw.cifar import LAYOUTS, SIDE

COLOURS = ((220, 30, 30), (30, 200, 40), (40, 60, 220), (230, 220, 40), (200, 50, 210),
           (40, 210, 210), (240, 240, 240), (25, 25, 25), (240, 140, 30), (130, 90, 60))  # fmt: skip


def colour(label: int) -> tuple[int, int, int]:
    """Return the colour in the middle of every picture of a class."""
    return COLOURS[label]


def pixels(label: int, seed: int, side: int) -> np.ndarray:
    """Return uint8 [side, side, 3]: noise with a block of the class's colour in the middle."""
    picture = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    picture[side // 4 : -side // 4, side // 4 : -side // 4] = colour(label)
    return picture


def write_tree(store: Store, keys: list[str]) -> None:
    """Write a picture at each key; its class is that of its folder in order of appearance."""
    folders = list(dict.fromkeys(key.rsplit("/", 1)[0].split("/")[-1] for key in keys))
    for number, key in enumerate(keys):
        label = folders.index(key.rsplit("/", 1)[0].split("/")[-1]) % len(COLOURS)
        buffer = io.BytesIO()
        kind = "PNG" if key.lower().endswith("png") else "JPEG"
        Image.fromarray(pixels(label, number, 48)).save(buffer, kind)
        store.put(key, buffer.getvalue())


def cifar_archive(name: str, per_class: int) -> bytes:
    """Return a binary archive in the published layout with `per_class` pictures of 10 classes in each file."""
    layout = LAYOUTS[name]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        names = "\n".join(f"class{label}" for label in range(10)) + "\n"
        files = {layout.names: names.encode()}
        for place, file in enumerate((*layout.train, layout.test)):
            files[file] = b"".join(
                bytes([0] * (layout.labels - 1) + [label])
                + pixels(label, 10_000 * place + 10 * n + label, SIDE).transpose(2, 0, 1).tobytes()
                for n in range(per_class)
                for label in range(10)
            )
        for file, content in files.items():
            member = tarfile.TarInfo(f"published-folder/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
