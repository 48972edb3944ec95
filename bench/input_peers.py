"""Other ways to read the same JPEGs in batches, each as its own documentation shows it; all resize to squares."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from PIL import Image

WORKERS = 2  # threads


def directory(folder: Path, size: int, batch: int) -> tf.data.Dataset:
    """Return one pass of Keras' reader of a folder for each class: float32 images, shuffled."""
    return keras.utils.image_dataset_from_directory(folder, image_size=(size, size), batch_size=batch, verbose=False)


def generator(folder: Path, size: int, batch: int) -> Iterable[Any]:
    """Return one pass of ImageDataGenerator with the augmentation of its tutorials."""
    augmented = ImageDataGenerator(
        rescale=1 / 255, rotation_range=20, width_shift_range=0.2, height_shift_range=0.2, zoom_range=0.2,
        horizontal_flip=True,
    )  # fmt: skip
    flow = augmented.flow_from_directory(folder, target_size=(size, size), batch_size=batch)
    return (next(flow) for _ in range(flow.samples // batch))


def tfrecords(files: list[str], size: int, batch: int) -> tf.data.Dataset:
    """Return one pass of the reader of TensorFlow's TFRecord tutorial, with parallel maps."""
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_single_example(example, features)
        image = tf.io.decode_jpeg(parsed["image/encoded"], channels=3)
        return tf.image.resize(image, (size, size)), parsed["image/class/label"]

    examples = tf.data.TFRecordDataset(files).shuffle(1000)
    return examples.map(parse, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)


class Folder(keras.utils.PyDataset):
    """A folder for each class, read by Pillow in threads."""

    def __init__(self, folder: Path, size: int, batch: int) -> None:
        super().__init__(workers=WORKERS, max_queue_size=10)
        self._files = np.random.default_rng(0).permutation(sorted(str(path) for path in folder.rglob("*.jpg")))
        self._size, self._batch = size, batch
        self._labels = {path.name: number for number, path in enumerate(sorted(folder.iterdir()))}

    def __len__(self) -> int:
        return len(self._files) // self._batch

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        files = self._files[number * self._batch : (number + 1) * self._batch]
        images = [_square(Image.open(file), self._size) for file in files]
        return np.stack(images), np.array([self._labels[Path(file).parent.name] for file in files])


def py_dataset(folder: Path, size: int, batch: int) -> Iterable[Any]:
    """Return one pass of a keras.utils.PyDataset, as `fit` reads it."""
    adapter = PyDatasetAdapter(Folder(folder, size, batch), shuffle=True)
    adapter.on_epoch_begin()
    try:
        yield from adapter.get_numpy_iterator()
    finally:
        adapter.on_epoch_end()


def write_array_record(folder: Path, path: Path) -> None:
    """Write every image of a folder for each class to one ArrayRecord file, without compression: a byte, then a JPEG.

    Raises:
        ImportError: array_record is not installed.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for number, place in enumerate(sorted(folder.iterdir())):
        for file in sorted(place.iterdir()):
            writer.write(bytes([number % 256]) + file.read_bytes())
    writer.close()


def grain(path: Path, size: int, batch: int) -> Iterable[Any]:
    """Return one pass of grain over an ArrayRecord file, decoded by Pillow in threads."""
    import grain.python as reader

    def decode(record: bytes) -> tuple[np.ndarray, int]:
        return _square(Image.open(io.BytesIO(record[1:])), size), record[0]

    shuffled = reader.MapDataset.source(reader.ArrayRecordDataSource([str(path)])).shuffle(seed=0)
    options = reader.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=64)
    yield from shuffled.map(decode).to_iter_dataset(options).batch(batch, drop_remainder=True)


def _square(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR) if image.size != (size, size) else image)
