"""Brightness, contrast and saturation of an image, by the definitions of torchvision and Pillow's ImageEnhance."""

import tensorflow as tf

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in the gray value of a pixel (ITU-R BT.601)
GRID = 2.0**13  # steps for each unit of the map's coefficients: products and sums are exact in float32 then


def adjust_colour(
    image: tf.Tensor,
    brightness: tf.Tensor | float = 1.0,
    contrast: tf.Tensor | float = 1.0,
    saturation: tf.Tensor | float = 1.0,
) -> tf.Tensor:
    """Return uint8 [size, size, 3] with brightness, contrast and saturation multiplied by factors in 0 to 2.

    A factor of 1 changes nothing; 0 gives black (brightness), the mean gray of the image (contrast), or the gray values
    (saturation). The three are linear maps of a pixel that commute, so they are applied as one, which takes a third of
    the time; torchvision applies them in a random order, which differs where values beyond 0 to 255 are clipped between
    two of them. Here they are clipped once, at the end, and rounded to the nearest, not down.

    The coefficients are on a grid so coarse that no sum is rounded: the result is the same on any processor and with
    any number of threads. This changes a value by less than 0.1.
    """
    pixels = tf.reshape(image, [-1, 3])
    count = tf.cast(tf.shape(pixels)[0], tf.float32)
    total = tf.cast(tf.reduce_sum(tf.cast(pixels, tf.int32), 0), tf.float32)
    mean = tf.reduce_sum(total * LUMA) / count
    matrix = brightness * contrast * (saturation * tf.eye(3) + (1.0 - saturation) * tf.constant(LUMA)[:, tf.newaxis])
    offset = brightness * (1.0 - contrast) * mean
    mapped = tf.matmul(tf.cast(pixels, tf.float32), tf.round(matrix * GRID) / GRID)
    rounded = mapped + (tf.round(offset * GRID) / GRID + 0.5)  # the cast rounds down
    return tf.reshape(tf.cast(tf.clip_by_value(rounded, 0.0, 255.0), tf.uint8), tf.shape(image))
