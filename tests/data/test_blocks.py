"""An epoch of several blocks, in batches of any size: resumed and shared it shows the same images, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.storage import LocalStore
from dogbreed.data import decoded_source, input_pipeline, train_source
from dogbreed.data.augment import Augment
from dogbreed.data.batch_shard import BatchShard
from dogbreed.data.colour import adjust_colour
from dogbreed.data.input_pipeline import CACHES, InputPipeline
from dogbreed.data.manifest import load_manifest
from dogbreed.data.resize import ResizeSpec
from dogbreed.data.trivial_augment import trivial_augment

VIEWS = Augment(hflip=True, min_area=0.4, max_aspect=1.3)
PIXELS = replace(VIEWS, brightness=0.4, contrast=0.4, saturation=0.4, trivial_augment=True)
Batches = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(params=[7, 2048])
def block(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Examples of a block; an epoch has 28."""
    for module in (train_source, input_pipeline, decoded_source):
        monkeypatch.setattr(module, "SHUFFLE_BLOCK", request.param)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return int(request.param)


def batches(
    dataset: Path,
    size: int,
    seed: int,
    cache: str,
    start: tuple[int, int] = (0, 0),
    shard: BatchShard | None = None,
    augment: Augment = VIEWS,
) -> Batches:
    store = LocalStore(dataset)
    pipeline = InputPipeline(load_manifest(store), store, ResizeSpec(32), size, dataset, shard)
    found = pipeline.train_batches(augment, seed, 2, cache, start)
    return [(images.numpy(), labels.numpy()) for images, labels in found]


def assert_same(found: Batches, expected: Batches) -> None:
    assert len(found) == len(expected)
    for (images, labels), (others, other_labels) in zip(found, expected, strict=True):
        assert np.array_equal(labels, other_labels)
        assert np.array_equal(images, others)


@pytest.mark.parametrize("cache", CACHES)
def test_a_resumed_training_sees_the_same_images(dataset: Path, block: int, cache: str) -> None:
    for seed in range(2):
        whole = batches(dataset, 5, seed, cache)
        for step in (1, 2, 8):  # of 5 an epoch
            assert_same(batches(dataset, 5, seed, cache, divmod(step, 5)), whole[step:])


@pytest.mark.parametrize("cache", CACHES)
def test_the_shares_of_two_workers_are_those_of_the_whole_batch(dataset: Path, block: int, cache: str) -> None:
    whole = batches(dataset, 12, 0, cache)
    for index in range(2):
        shard = BatchShard(index, 2)
        own = np.array(shard.contains(np.arange(12), 12))
        expected = [(images[own], labels[own]) for images, labels in whole]
        assert_same(batches(dataset, 12, 0, cache, shard=shard), expected)


def test_what_is_drawn_for_an_image_does_not_depend_on_which_others_are_wanted() -> None:
    seed, number, places = tf.constant([3, 1], tf.int64), tf.constant(0, tf.int64), tf.range(320)
    whole = train_source.draw(seed, number, places >= 0, VIEWS)
    for count in range(1, 33):
        few = train_source.draw(seed, number, places >= 320 - count, VIEWS)
        for field, expected in zip(few, whole, strict=True):
            assert np.array_equal(field, expected[-count:])


@pytest.mark.parametrize("cache", CACHES)
def test_colours_and_operations_follow_crop_and_flip_and_depend_on_seed_and_place_alone(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ((plain, labels), _) = batches(dataset, 28, 3, cache)
    changed = batches(dataset, 4, 3, cache, (0, 2), BatchShard(0, 2), PIXELS)
    every = tf.ones(28, tf.bool)
    draws = train_source.draw_pixels(tf.constant([3, 0], tf.int64), tf.constant(0, tf.int64), every, PIXELS)
    for step, (images, found) in enumerate(changed[:5], 2):
        for image, label, place in zip(images, found, (4 * step, 4 * step + 3), strict=True):
            jittered = adjust_colour(tf.constant(plain[place]), *tf.unstack(draws.factors[place]))
            chosen = tf.nest.map_structure(lambda field, place=place: field[place], draws.chosen)
            assert np.array_equal(image, trivial_augment(jittered, chosen))
            assert label == labels[place]


def test_the_factors_of_colour_jitter_are_uniform_around_one() -> None:
    seed, wanted = tf.constant([3, 0], tf.int64), tf.ones(2000, tf.bool)
    ranges = Augment(brightness=0.5, saturation=0.1)
    factors = train_source.draw_pixels(seed, tf.constant(1, tf.int64), wanted, ranges).factors.numpy()
    assert factors.min(0) == pytest.approx([0.5, 1.0, 0.9], abs=0.01)
    assert factors.max(0) == pytest.approx([1.5, 1.0, 1.1], abs=0.01)
    assert factors.mean(0) == pytest.approx([1, 1, 1], abs=0.02)


def test_blocks_change_neither_how_often_an_image_is_shown_nor_the_remainder(dataset: Path, block: int) -> None:
    labels = np.concatenate([labels for _, labels in batches(dataset, 7, 0, "none")])
    counts = np.bincount(labels)
    assert counts.sum() == 2 * 28
    assert (counts % 2 == 0).all()
    assert len(batches(dataset, 9, 0, "none")) == 2 * 3
