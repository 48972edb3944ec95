"""Synthetic images of invented breeds in the layout of Stanford Dogs, for a first run without a download.

The archives have the published structure (`stanford_dogs`) and a few of its oddities, so that whatever
reads the one reads the other. Breeds and synsets are made up: nothing learned here says anything about
real dogs.
"""

import io
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.io import savemat

from dogbreed.core.errors import UsageError
from dogbreed.data.splits import TEST, TRAIN
from dogbreed.data.synthetic.breeds import BREEDS, Breed
from dogbreed.data.synthetic.compose import Box, compose_image

SMALLEST_BREED = 5  # images: three for train, two for test, and the first breed's oddities fit in
JPEG_QUALITY = 85
PNG_NAMED_JPG, BOX_TOO_LOW, BOX_TOO_WIDE = (
    3,
    0,
    4,
)  # images of the first breed, as n02105855_2933 and two more
MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(116)  # savemat writes the platform and the time here


@dataclass(frozen=True)
class SyntheticConfig:
    """How much to draw; UsageError where a number is out of range."""

    classes: int = 10
    per_class: int = 60  # images; three of five are for training
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= len(BREEDS):
            raise UsageError(f"classes is {self.classes}; the generator has 1 to {len(BREEDS)}")
        if self.per_class < SMALLEST_BREED:
            raise UsageError(f"per_class is {self.per_class}; the generator needs at least {SMALLEST_BREED} a class")


@dataclass(frozen=True)
class SyntheticImage:
    """One image of the archives with its annotation; `key` is <synset>-<Breed>/<synset>_<n>."""

    key: str
    label: int  # from 1
    split: str  # TRAIN or TEST
    image: bytes
    xml: bytes


DEFAULTS = SyntheticConfig()


def draw_archives(config: SyntheticConfig = DEFAULTS) -> dict[str, bytes]:
    """Return images.tar, annotation.tar and lists.tar; the same config gives the same bytes.

    Each image depends on the seed, its breed and its index alone: a smaller archive of the same seed holds
    a part of a larger one's images, in the same split. (Another Pillow may encode them differently.)
    """
    sketches = sorted(
        (
            _synthetic_image(config.seed, breed, index)
            for breed in range(config.classes)
            for index in range(config.per_class)
        ),
        key=lambda sketch: sketch.key,
    )
    splits = {split: [s for s in sketches if s.split == split] for split in (TRAIN, TEST)}
    return {
        "images.tar": _tar({f"Images/{s.key}.jpg": s.image for s in sketches}),
        "annotation.tar": _tar({f"Annotation/{s.key}": s.xml for s in sketches}),
        "lists.tar": _tar({f"{name}_list.mat": _list(part) for name, part in {"file": sketches, **splits}.items()}),
    }


def _synthetic_image(seed: int, position: int, index: int) -> SyntheticImage:
    """Draw image `index` of the breed at this position; 3 of 32 images show two or three dogs."""
    breed = BREEDS[position]
    rng = random.Random(f"{seed}/{breed.synset}/{index}")
    dogs = {2: 2, 18: 3, 26: 2}.get(index % 32, 1)
    image, boxes = compose_image(breed, rng, dogs)
    name = f"{breed.synset}_{37 * (index + 1)}"
    nameless = position % 4 == 0 and index % 3 == 1  # in the real archive, too, only some breeds have them
    buffer = io.BytesIO()
    if (position, index) == (0, PNG_NAMED_JPG):
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return SyntheticImage(
        key=f"{breed.synset}-{breed.name}/{name}",
        label=position + 1,
        split=TRAIN if index % 5 < 3 else TEST,
        image=buffer.getvalue(),
        xml=_xml(breed, "%s" if nameless else name, image.size, _published_oddity(position, index, boxes, image.size)),
    )


def _published_oddity(position: int, index: int, boxes: Sequence[Box], size: tuple[int, int]) -> Sequence[Box]:
    """Return the boxes, of which two of the archive's leave their image by a few pixels."""
    xmin, ymin, xmax, ymax = boxes[0]
    if (position, index) == (0, BOX_TOO_LOW):
        return [(xmin, ymin, xmax, size[1] + 6)]
    if (position, index) == (0, BOX_TOO_WIDE):
        return [(xmin, ymin, size[0] + 4, ymax)]
    return boxes


def _xml(breed: Breed, name: str, size: tuple[int, int], boxes: Sequence[Box]) -> bytes:
    """Return the annotation as published: VOC, tabs, the folder without its "n", no newline at the end."""
    folder = name if name == "%s" else breed.synset[1:]
    head = f"""<annotation>
\t<folder>{folder}</folder>
\t<filename>{name}</filename>
\t<source>
\t\t<database>dogbreed sketches</database>
\t</source>
\t<size>
\t\t<width>{size[0]}</width>
\t\t<height>{size[1]}</height>
\t\t<depth>3</depth>
\t</size>
\t<segment>0</segment>
"""
    return (head + "".join(_xml_object(breed, box) for box in boxes) + "</annotation>").encode()


def _xml_object(breed: Breed, box: Box) -> str:
    xmin, ymin, xmax, ymax = box
    return f"""\t<object>
\t\t<name>{breed.name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{xmin}</xmin>
\t\t\t<ymin>{ymin}</ymin>
\t\t\t<xmax>{xmax}</xmax>
\t\t\t<ymax>{ymax}</ymax>
\t\t</bndbox>
\t</object>
"""


def _list(sketches: Sequence[SyntheticImage]) -> bytes:
    """Return a MATLAB 5 file: file_list and annotation_list as cells [N, 1], labels float64 [N, 1] from 1."""
    buffer = io.BytesIO()
    savemat(
        buffer,
        {
            "file_list": _cells([f"{sketch.key}.jpg" for sketch in sketches]),
            "annotation_list": _cells([sketch.key for sketch in sketches]),
            "labels": np.array([[sketch.label] for sketch in sketches], dtype=np.float64),
        },
    )
    return MAT_HEADER + buffer.getvalue()[len(MAT_HEADER) :]


def _cells(names: Sequence[str]) -> "np.ndarray[tuple[int, int], np.dtype[np.object_]]":
    return np.array(names, dtype=object).reshape(-1, 1)


def _tar(files: dict[str, bytes]) -> bytes:
    """Return a tar of the files and, before the first file in each, their folders; no times, no owners."""
    buffer, folders = io.BytesIO(), set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            parts = name.split("/")[:-1]
            for folder in ("/".join(parts[: depth + 1]) for depth in range(len(parts))):
                if folder not in folders:
                    folders.add(folder)
                    tar.addfile(_member(folder, mode=0o755, kind=tarfile.DIRTYPE))
            tar.addfile(_member(name, mode=0o644, size=len(content)), io.BytesIO(content))
    return buffer.getvalue()


def _member(name: str, mode: int, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # owner 0, time 0
    member.mode, member.type, member.size = mode, kind, size
    return member
