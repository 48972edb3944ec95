"""Raw archives whose images are encoded anew, as the published ones are or as large as those."""

import io
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

QUALITY = 90  # of the published images, which are baseline JPEGs
SIDE = re.compile(rb"<(xmin|ymin|xmax|ymax)>([\d.]+)<")


def encoded_anew(raw: Path, folder: Path, factor: float = 1.0) -> Path:
    """Copy the archives to `folder` with every image as a baseline JPEG, images and boxes enlarged by `factor`."""

    def image(data: bytes) -> bytes:
        image, buffer = Image.open(io.BytesIO(data)).convert("RGB"), io.BytesIO()
        shape = (round(image.width * factor), round(image.height * factor))
        image.resize(shape, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=QUALITY)
        return buffer.getvalue()

    def boxes(data: bytes) -> bytes:
        return SIDE.sub(lambda found: b"<%s>%.1f<" % (found[1], float(found[2]) * factor), data)

    _copy(raw, folder, "images.tar", image)
    _copy(raw, folder, "annotation.tar", boxes)
    if (raw / "lists.tar").exists():
        shutil.copy(raw / "lists.tar", folder)
    return folder


def _copy(raw: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    with tarfile.open(raw / name) as old, tarfile.open(folder / name, "w") as new:
        for member in old:
            if (file := old.extractfile(member)) is not None:
                data = change(file.read())
                info = tarfile.TarInfo(member.name)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
