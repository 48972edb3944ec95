"""TFRecord examples by TensorFlow's conventions: other readers take the shards as they are."""

import io
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dogbreed.core.canonical_json import sha256_hex
from dogbreed.core.storage import LocalStore
from dogbreed.data import images
from dogbreed.data.boxes import Box
from dogbreed.data.builder import make_examples
from dogbreed.data.config import DatasetConfig
from dogbreed.data.examples import Example, read_shard
from dogbreed.data.manifest import load_manifest
from dogbreed.data.plan import plan_dataset
from dogbreed.data.raw import SourceImage
from dogbreed.data.shard_files import read_verified

NAME = "n00000001-Red"
BOXES = (Box(10, 20, 50, 60), Box(40, 30, 200, 90), Box(300, 100, 350, 140))  # the second one leaves the image

# the features that TensorFlow Models' decoders ask for:
# official/vision/dataloaders/classification_input.py, Decoder
CLASSIFICATION = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string, default_value=""),
    "image/class/label": tf.io.FixedLenFeature((), tf.int64, default_value=-1),
}
# official/vision/dataloaders/tf_example_decoder.py, TfExampleDecoder
DETECTION = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/height": tf.io.FixedLenFeature((), tf.int64, -1),
    "image/width": tf.io.FixedLenFeature((), tf.int64, -1),
    "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/xmax": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/ymin": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/ymax": tf.io.VarLenFeature(tf.float32),
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
    "image/object/area": tf.io.VarLenFeature(tf.float32),
    "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
    "image/source_id": tf.io.FixedLenFeature((), tf.string),
}


class OneImage:
    """A source of one image of 160 x 120 pixels with the boxes BOXES."""

    digest = "one"

    def __init__(self, boxes: tuple[Box, ...]) -> None:
        self.images = [SourceImage(f"{NAME}/1", NAME, "train", boxes)]

    def read(self, photo: SourceImage) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.full((120, 160, 3), 90, np.uint8)).save(buffer, "JPEG")
        return buffer.getvalue()


def examples(boxes: tuple[Box, ...], **options: object) -> list[Example]:
    source = OneImage(boxes)
    found = make_examples(plan_dataset(source, DatasetConfig(**{"size": 32, **options})), source.images[0])
    assert isinstance(found, list)
    return found


def sides(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


@pytest.fixture(scope="module")
def serialized(dataset: Path) -> list[bytes]:
    store = LocalStore(dataset)
    shards = [shard for split in load_manifest(store).splits.values() for shard in split.shards]
    return [
        example for shard in shards for example in tf.data.TFRecordDataset(str(dataset / shard.key)).as_numpy_iterator()
    ]


def test_model_gardens_classification_decoder_reads_the_shards(serialized: list[bytes]) -> None:
    for data in serialized:
        example = tf.io.parse_single_example(data, CLASSIFICATION)
        assert tf.io.decode_image(example["image/encoded"], channels=3).shape[2] == 3
        assert 0 <= int(example["image/class/label"]) < 4


def test_model_gardens_detection_decoder_finds_as_many_boxes_as_box_labels(serialized: list[bytes]) -> None:
    counts = set()
    for data in serialized:
        example = tf.io.parse_single_example(data, DETECTION)
        boxes = [tf.sparse.to_dense(example[f"image/object/bbox/{side}"]) for side in ("ymin", "xmin", "ymax", "xmax")]
        labels = tf.sparse.to_dense(example["image/object/class/label"])
        decoded = tf.io.decode_image(example["image/encoded"], channels=3)
        assert {len(side) for side in boxes} == {len(labels)}
        assert decoded.shape[:2] == (int(example["image/height"]), int(example["image/width"]))
        assert all(0 <= float(value) <= 1 for side in boxes for value in side)
        counts.add(len(labels))
    assert max(counts) > 1  # of 48 synthetic images some show two or three dogs
    assert min(counts) == 1


def test_the_digest_covers_the_stored_image(dataset: Path) -> None:
    store = LocalStore(dataset)
    shard = load_manifest(store).split("test").shards[0]
    data = next(iter(tf.data.TFRecordDataset(str(dataset / shard.key)))).numpy()
    features = tf.train.Example.FromString(data).features.feature
    encoded = features["image/encoded"].bytes_list.value[0]
    assert features["image/key/sha256"].bytes_list.value[0].decode() == sha256_hex(encoded)
    assert next(read_shard(read_verified(store, shard))).encoded == encoded


def test_boxes_are_relative_to_the_whole_image_where_that_is_stored() -> None:
    (example,) = examples(BOXES, crop="none", objects="first", size=120)
    assert (example.width, example.height) == (160, 120)
    assert np.array([sides(box) for box in example.boxes]) == pytest.approx(
        np.array([(10 / 160, 20 / 120, 50 / 160, 60 / 120), (40 / 160, 30 / 120, 1, 90 / 120)])
    )
    assert example.original_box == BOXES[0]
    assert (example.original_width, example.original_height) == (160, 120)


def test_boxes_are_relative_to_a_crop_and_clipped_to_it() -> None:
    (example,) = examples(BOXES, crop="box", objects="first", margin=0.0, size=64)
    assert (example.width, example.height) == (40, 40)  # never enlarged
    assert np.array([sides(box) for box in example.boxes]) == pytest.approx(
        np.array([(0, 0, 1, 1), (0.75, 0.25, 1, 1)])
    )


def test_each_box_of_an_image_becomes_an_example_of_its_own() -> None:
    found = examples(BOXES[:2], objects="each", margin=0.0)
    assert [example.source_id for example in found] == [f"{NAME}/1#0", f"{NAME}/1#1"]
    assert [example.original_box for example in found] == [BOXES[0], Box(40, 30, 160, 90)]


def test_an_image_without_annotation_has_no_boxes_and_is_used_whole() -> None:
    (example,) = examples(())
    assert example.boxes == ()
    assert example.original_box == Box(0, 0, 160, 120)
    assert example.filename == "1"


def test_why_an_image_cannot_be_used_does_not_keep_its_pixels_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def decode(data: bytes) -> np.ndarray:
        pixels = np.zeros((120, 160, 3), np.uint8)
        decoded.append(weakref.ref(pixels))
        return pixels

    monkeypatch.setattr(images, "decode", decode)
    source = OneImage((Box(500, 500, 600, 600),))
    reason = make_examples(plan_dataset(source, DatasetConfig(size=32)), source.images[0])
    assert isinstance(reason, str)
    assert "holds no pixel" in reason
    (pixels,) = decoded
    assert pixels() is None
