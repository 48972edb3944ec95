"""TFRecord shards: one tf.train.Example a crop."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from dogbreed.data.annotation import Box

FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/key": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "size": tf.io.FixedLenFeature([2], tf.int64),
    "box": tf.io.FixedLenFeature([4], tf.float32),
}
BLOCK = 64  # records that are parsed together: one by one takes five times as long


@dataclass(frozen=True)
class Record:
    """A crop, or a whole photo with its box.

    `size` (width, height) and `box` are those of the original photo, in stored pixels.
    """

    key: str
    encoded: bytes  # JPEG, RGB
    label: int
    size: tuple[int, int]
    box: Box

    def serialize(self) -> bytes:
        """Return the tf.train.Example; the same record gives the same bytes."""
        box = [self.box.left, self.box.top, self.box.right, self.box.bottom]
        features = {
            "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[self.encoded])),
            "image/key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[self.key.encode()])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[self.label])),
            "size": tf.train.Feature(int64_list=tf.train.Int64List(value=self.size)),
            "box": tf.train.Feature(float_list=tf.train.FloatList(value=box)),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return bytes(example.SerializeToString(deterministic=True))


def write_shard(records: Iterable[Record]) -> bytes:
    """Return the records as the bytes of one TFRecord file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record.serialize())
        return path.read_bytes()


def read_shard(data: bytes) -> Iterator[Record]:
    """Yield the records of a TFRecord file."""
    with tempfile.NamedTemporaryFile(suffix=".tfrecord") as file:
        file.write(data)
        file.flush()
        for block in tf.data.TFRecordDataset(file.name).batch(BLOCK):
            columns = tf.io.parse_example(block, FEATURES)
            values = (columns[name].numpy() for name in FEATURES)
            for encoded, key, label, size, box in zip(*values, strict=True):
                yield Record(key.decode(), encoded, int(label), tuple(size.tolist()), Box(*box.tolist()))
