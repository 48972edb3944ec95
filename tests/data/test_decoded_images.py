"""Decoded images in a file of the scratch folder: written once, shared, verified, rebuilt, limited."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import EnvironmentUnsupported, UsageError
from dogbreed.core.scratch import SCRATCH_LIMIT
from dogbreed.core.storage import LocalStore
from dogbreed.data import decoded_source
from dogbreed.data.augment import Augment, to_draws
from dogbreed.data.decoded_images import FOLDER, DecodedFile
from dogbreed.data.input_pipeline import InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec

VIEWS = Augment(hflip=True, min_area=0.4, max_aspect=1.3)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"{FOLDER}-{os.getuid()}"


@pytest.fixture
def flow(dataset: Path, tmp_path: Path) -> InputPipeline:
    store = LocalStore(dataset)
    return InputPipeline(load_manifest(store), store, ResizeSpec(32), 14, tmp_path)  # 28 train images


def images_of(flow: InputPipeline, augment: Augment = VIEWS, epochs: int = 2, cache: str = "disk") -> np.ndarray:
    return np.concatenate([images.numpy() for images, _ in flow.train_batches(augment, 7, epochs, cache)])


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the place of each image that is decoded and written."""
    places: list[int] = []
    write = DecodedFile._write

    def counted(self: DecodedFile, place: int, image: np.ndarray) -> None:
        places.append(int(place))
        write(self, place, image)

    monkeypatch.setattr(DecodedFile, "_write", counted)
    return places


def test_images_are_decoded_in_the_first_epoch_only_however_many_epochs_and_trainings(
    flow: InputPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = decoded(monkeypatch)
    first = images_of(flow, epochs=12)
    assert set(places) == set(range(28))
    assert len(places) < 2 * 28, "so few images of two epochs overlap, and what is in work in both is decoded in both"
    places.clear()
    assert np.array_equal(images_of(flow, epochs=12), first)
    assert not places


def test_its_images_are_those_of_the_evaluation_in_the_order_of_the_shards(flow: InputPipeline) -> None:
    kept, plain = (images_of(flow, Augment(), 2, cache) for cache in ("disk", "none"))
    assert np.array_equal(kept, plain)
    still = np.concatenate([images.numpy() for images, _ in flow.eval_batches("train")])
    assert sorted(image.tobytes() for image in kept[:28]) == sorted(image.tobytes() for image in still)


def test_an_image_has_the_view_that_is_cut_from_it_in_memory_before_and_after_it_is_kept(flow: InputPipeline) -> None:
    source = flow._source("disk", VIEWS)
    assert isinstance(source, decoded_source.DiskSource)
    seed = tf.constant([7, 0], tf.int64)
    block = next(iter(source.blocks(seed)))
    planned = source.plan(block, tf.constant(0, tf.int64), tf.ones(28, tf.bool), seed)
    for place in range(28):
        still, view = tf.nest.map_structure(lambda field, at=place: field[at], planned)
        whole = flow._still.image(still)[0]
        memory = decoded_source.MemorySource(whole[tf.newaxis], tf.zeros(1, tf.int32), source._views)
        expected = memory.image(view._replace(place=tf.constant(0, tf.int64)), still.label)
        for _ in range(2):
            image, label = source.image(still, view)
            assert np.array_equal(image, expected[0])
            assert label == expected[1]


def test_a_damaged_image_is_decoded_again(
    flow: InputPipeline, scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = images_of(flow)
    (path,) = scratch.glob("*.uint8")
    data = bytearray(path.read_bytes())
    data[5 * 32 * 32 * 3 + 100] ^= 1
    path.write_bytes(data)
    places = decoded(monkeypatch)
    assert np.array_equal(images_of(flow), before)
    assert set(places) == {5}
    assert "1 decoded images are damaged" in caplog.text


@pytest.mark.parametrize("suffix", ["uint8", "crc32"])
def test_a_file_of_another_length_is_made_anew(
    flow: InputPipeline, scratch: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    before = images_of(flow)
    (path,) = scratch.glob(f"*.{suffix}")
    path.write_bytes(path.read_bytes()[:-1])
    places = decoded(monkeypatch)
    assert np.array_equal(images_of(flow), before)
    assert set(places) == set(range(28))


def test_margins_cannot_change_what_is_kept(flow: InputPipeline) -> None:
    with pytest.raises(UsageError, match="--cache none"):
        flow.train_batches(Augment(margin_jitter=0.1), 7, 1, "disk")


def test_a_file_for_which_there_is_no_room_is_not_left_behind(
    flow: InputPipeline, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOGBREED_SCRATCH_LIMIT", "1Mi")
    with pytest.raises(EnvironmentUnsupported, match="DOGBREED_SCRATCH_LIMIT"):
        images_of(flow)
    assert not list(scratch.iterdir())


def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(
    flow: InputPipeline, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch.touch()
    with pytest.raises(EnvironmentUnsupported, match="TMPDIR"):
        images_of(flow)
    scratch.unlink()
    scratch.mkdir()
    os.chown(scratch, 12345, 12345)
    with pytest.raises(EnvironmentUnsupported, match="12345"):
        images_of(flow)


def test_two_trainings_at_a_time_fill_one_file(flow: InputPipeline, scratch: Path) -> None:
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(images_of(flow))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(*results)
    assert len(list(scratch.glob("*.uint8"))) == 1


def test_another_view_has_another_file(dataset: Path, tmp_path: Path, scratch: Path) -> None:
    store = LocalStore(dataset)
    for size in (16, 32):
        images_of(InputPipeline(load_manifest(store), store, ResizeSpec(size), 14, tmp_path))
    assert len(list(scratch.glob("*.uint8"))) == 2


def test_images_that_do_not_fit_into_the_scratch_folder_are_78_before_the_first_batch(
    flow: InputPipeline, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCRATCH_LIMIT, "64Mi")
    with pytest.raises(EnvironmentUnsupported, match=r"decoded images in .* scratch space are needed") as error:
        flow.train_batches(VIEWS, 7, 1, "disk")
    assert error.value.exit_code == 78


def test_a_view_of_less_than_a_pixel_shows_one() -> None:
    views = decoded_source.DecodedViews(32, Augment(min_area=0.0001))
    image = tf.random.stateless_uniform([32, 32, 3], [1, 2], 0, 256, tf.int32)
    draws = to_draws(tf.constant([[0.0, 0.5, 0.999, 0.999, 0.9, 0.5]]), views.augment)
    view = tf.nest.map_structure(lambda field: field[0], views.plan(tf.zeros(1, tf.int64), draws))
    cut = views.cut(tf.cast(image, tf.uint8), view).numpy()
    assert (cut == cut[0, 0]).all()
