"""Models that see smaller images: what they compute, and which models cannot."""

import numpy as np
import pytest
import tensorflow as tf

from dogbreed.core.errors import UsageError
from dogbreed.models import registry
from dogbreed.models.common import reduce_images


def test_reduced_images_give_what_a_model_of_that_size_gives() -> None:
    full, small = (registry.build("airbench-64", size, 4, 0.2) for size in (64, 48))
    small.set_weights(full.get_weights())
    reduced = reduce_images(full, 48)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    rounded = tf.cast(tf.round(tf.image.resize(images, (48, 48))), tf.uint8)
    assert reduced(images).numpy() == pytest.approx(small(rounded).numpy(), abs=1e-6)
    assert all(one is other for one, other in zip(reduced.weights, full.weights, strict=True))


def test_a_model_with_another_inside_is_refused() -> None:
    with pytest.raises(UsageError, match="start_size=0"):
        reduce_images(registry.build("mobilenet-0.25", 64, 4, 0.2), 48)
