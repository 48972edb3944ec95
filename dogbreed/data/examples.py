"""TFRecord files: one tf.train.Example for each crop, with the feature names that other TensorFlow readers use.

The names are those of TensorFlow's Object Detection API and Model Garden (`tf_example_decoder.py`,
`classification_input.py`). Labels are positions in the manifest's classes, from 0; detectors that count the background
as class 0 add one.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.data.boxes import Box

SIDES = ("xmin", "ymin", "xmax", "ymax")
_TEXT, _INTEGER, _NUMBER = (tf.io.FixedLenFeature([], kind) for kind in (tf.string, tf.int64, tf.float32))
_TEXTS, _INTEGERS, _NUMBERS = (
    tf.io.FixedLenSequenceFeature([], kind, allow_missing=True) for kind in (tf.string, tf.int64, tf.float32)
)
FEATURES = {
    "image/encoded": _TEXT,  # JPEG, RGB
    "image/format": _TEXT,
    "image/height": _INTEGER,  # pixels of the stored image
    "image/width": _INTEGER,
    "image/key/sha256": _TEXT,  # of image/encoded
    "image/filename": _TEXT,
    "image/source_id": _TEXT,
    "image/class/label": _INTEGER,
    "image/class/text": _TEXT,
    **{f"image/object/bbox/{side}": _NUMBERS for side in SIDES},  # 0-1 of the stored image
    "image/object/class/label": _INTEGERS,
    "image/object/class/text": _TEXTS,
    "image/original/height": _INTEGER,  # pixels of the source image
    "image/original/width": _INTEGER,
    **{f"image/original/bbox/{side}": _NUMBER for side in SIDES},  # pixels of the source image
}
LISTS = {  # name -> field of a tf.train.Feature
    name: {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}[feature.dtype]
    for name, feature in FEATURES.items()
}
BLOCK = 64  # examples that are parsed together: one by one takes five times as long


@dataclass(frozen=True)
class Example:
    """One stored image with its class and the boxes that are visible in it."""

    source_id: str  # the image's key in its source, with #n where each box became an example
    filename: str
    encoded: bytes  # JPEG, RGB
    height: int  # pixels of the stored image
    width: int
    label: int
    class_name: str
    boxes: tuple[Box, ...]  # relative to the stored image, 0-1; all are of the class `label`
    original_height: int  # pixels of the source image
    original_width: int
    original_box: Box  # pixels of the source image: the box of this example, or the whole image without annotation

    def serialize(self) -> bytes:
        """Return the tf.train.Example; the same example gives the same bytes."""
        name = self.class_name.encode()
        values: dict[str, bytes | int | list[bytes] | list[int] | list[float]] = {
            "image/encoded": self.encoded,
            "image/format": b"jpeg",
            "image/height": self.height,
            "image/width": self.width,
            "image/key/sha256": sha256_hex(self.encoded).encode(),
            "image/filename": self.filename.encode(),
            "image/source_id": self.source_id.encode(),
            "image/class/label": self.label,
            "image/class/text": name,
            "image/object/class/label": [self.label] * len(self.boxes),
            "image/object/class/text": [name] * len(self.boxes),
            "image/original/height": self.original_height,
            "image/original/width": self.original_width,
        }
        for position, side in enumerate(SIDES):
            values[f"image/object/bbox/{side}"] = [_sides(box)[position] for box in self.boxes]
            values[f"image/original/bbox/{side}"] = [_sides(self.original_box)[position]]
        example = tf.train.Example()
        features = example.features.feature
        for key, value in values.items():  # in place: a Feature made for each value takes twice as long
            getattr(features[key], LISTS[key]).value.extend(value if isinstance(value, list) else [value])
        return bytes(example.SerializeToString(deterministic=True))

    @classmethod
    def from_columns(cls, row: Mapping[str, Any]) -> "Example":
        """Return the example of a parsed row: NumPy values by the names of FEATURES.

        Rows that were parsed together are padded to the longest list of boxes; a box has an area, padding has none.
        """
        padded = zip(*(row[f"image/object/bbox/{side}"].tolist() for side in SIDES), strict=True)
        return cls(
            source_id=row["image/source_id"].decode(),
            filename=row["image/filename"].decode(),
            encoded=row["image/encoded"],
            height=int(row["image/height"]),
            width=int(row["image/width"]),
            label=int(row["image/class/label"]),
            class_name=row["image/class/text"].decode(),
            boxes=tuple(box for sides in padded if (box := Box(*sides)).area > 0),
            original_height=int(row["image/original/height"]),
            original_width=int(row["image/original/width"]),
            original_box=Box(*(float(row[f"image/original/bbox/{side}"]) for side in SIDES)),
        )


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


def write_shard(examples: Iterable[Example]) -> bytes:
    """Return the examples as the bytes of one TFRecord file."""
    return write_records(example.serialize() for example in examples)


def write_records(records: Iterable[bytes]) -> bytes:
    """Return serialized examples as the bytes of one TFRecord file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        return path.read_bytes()


def read_shard(data: bytes) -> Iterator[Example]:
    """Yield the examples of a TFRecord file."""
    with tempfile.NamedTemporaryFile(suffix=".tfrecord") as file:
        file.write(data)
        file.flush()
        for block in tf.data.TFRecordDataset(file.name).batch(BLOCK):
            parsed = {name: values.numpy() for name, values in tf.io.parse_example(block, FEATURES).items()}
            for number in range(len(parsed["image/encoded"])):
                yield Example.from_columns({name: values[number] for name, values in parsed.items()})
