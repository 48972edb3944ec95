"""A manifest and two examples that use every field."""

from dogbreed.data.boxes import Box
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import DuplicatesFile
from dogbreed.data.examples import Example
from dogbreed.data.manifest import (
    Manifest,
    QuarantinedImage,
    Shard,
    Split,
)

VERSIONS = {"pillow": "12.0.0", "libjpeg-turbo": "3.1.2", "simplejpeg": "1.8.2", "opencv": "4.12", "imagehash": "4.3.2"}


def shard(digit: str, records: int) -> Shard:
    """Return a shard whose digest is one digit."""
    return Shard(f"shards/{digit * 64}.tfrecord", digit * 64, 1000 * records, records)


MANIFEST = Manifest(
    format=3,
    name="two-breeds",
    config=DatasetConfig(classes=("chihuahua", "pug"), shards=4).to_dict(),
    source_digest="5" * 64,
    versions=VERSIONS,
    classes=("n02085620-Chihuahua", "n02110958-pug"),
    splits={
        "train": Split(3, (shard("a", 2), shard("b", 2))),
        "validation": Split(1, (shard("c", 1),)),
        "test": Split(0, ()),
    },
    quarantine=(QuarantinedImage("n02110958-pug/n02110958_9", "no annotation"),),
    excluded={"not selected": 7, "duplicates of test images": 1},
    duplicates=DuplicatesFile("duplicates/" + "d" * 64 + ".json", "d" * 64, 321, 1, 0, {"file": 1, "near": 1}),
)
EXAMPLE = Example(
    source_id="n02085620-Chihuahua/n02085620_1#1",
    filename="n02085620_1",
    encoded=b"\xff\xd8 a JPEG \xff\xd9",
    height=64,
    width=96,
    label=119,
    class_name="n02085620-Chihuahua",
    boxes=(Box(0.25, 0, 1, 1), Box(0, 0.5, 0.125, 0.75)),
    original_height=375,
    original_width=500,
    original_box=Box(10, 20.5, 300, 375),
)
NO_BOX = Example("b/2", "2", b"", 1, 1, 0, "b", (), 1, 1, Box(0, 0, 1, 1))
