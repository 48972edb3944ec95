"""A source of noise images in memory, and what tests read of a dataset."""

import io
from typing import Any

import numpy as np
from PIL import Image

from dogbreed.core.storage import Store
from dogbreed.data.boxes import Box
from dogbreed.data.examples import Example, read_shard
from dogbreed.data.manifest import Manifest
from dogbreed.data.raw import SourceImage


class NoiseSource:
    """A source in memory: noise images of 3 classes, unless a key has bytes of its own."""

    digest = "memory"

    def __init__(self, images: list[SourceImage] | None = None, **special: bytes) -> None:
        self.images = images if images is not None else [
            source_image(class_name, number, "train" if number < 10 else "test")
            for class_name in ("n00000001-Red", "n00000002-Green_dog", "n00000003-Blue")
            for number in range(15)
        ]  # fmt: skip
        self.special = special

    def read(self, image: SourceImage) -> bytes:
        return self.special.get(image.source_id.split("/")[1], NOISE)


def source_image(class_name: str, number: int, split: str | None, **fields: Any) -> SourceImage:
    """Return an image of a class, with one box unless `fields` say otherwise."""
    boxes = fields.pop("boxes", (Box(10, 5, 70, 45),))
    return SourceImage(f"{class_name}/{class_name[:9]}_{number}", class_name, split, boxes, **fields)


def noise() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


NOISE = noise()


def read_examples(out: Store, manifest: Manifest, split: str) -> list[Example]:
    return [example for shard in manifest.split(split).shards for example in read_shard(out.read(shard.key))]


def contents(out: Store) -> dict[str, bytes]:
    return {key: out.read(key) for key in out.list()}


def complete(manifest: Manifest | None) -> Manifest:
    assert manifest is not None
    return manifest
