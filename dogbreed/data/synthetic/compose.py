"""Composition of synthetic images: a scene, one to three dogs of a breed, foreground, camera noise."""

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dogbreed.data.synthetic.breeds import Breed
from dogbreed.data.synthetic.dogs import draw_dog
from dogbreed.data.synthetic.drawing import Points, Polygon, fill, offset, paint
from dogbreed.data.synthetic.scenes import draw_foreground, draw_scene

Box = tuple[int, int, int, int]  # xmin, ymin, xmax, ymax of the outermost pixels, 0-based

SUPERSAMPLING = 2  # 3 looks no cleaner under the noise and takes half as long again


def compose_image(breed: Breed, rng: random.Random, dogs: int) -> tuple[Image.Image, list[Box]]:
    """Return an RGB image, 160-320 px a side, and the boxes of what is seen of its dogs."""
    size = _image_size(rng)
    canvas = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
    image, horizon = draw_scene(rng, canvas)
    boxes = []
    for slot in rng.sample(range(dogs), dogs):
        parts, ink = draw_dog(breed, rng, sitting=rng.random() < 0.4)
        parts, bounds = _place(rng, parts, canvas, horizon, (slot, dogs))
        _draw_shadow(image, bounds)
        for polygon in parts:
            paint(image, polygon, ink)
        boxes.append(_visible_box(parts, bounds, canvas))
    draw_foreground(rng, image)
    return _add_camera_noise(rng, image.reduce(SUPERSAMPLING)), boxes


def _image_size(rng: random.Random) -> tuple[int, int]:
    long = rng.randint(224, 320)
    short = max(160, round(long * rng.uniform(0.66, 0.85)))
    return (long, short) if rng.random() < 0.6 else (short, long)


def _place(
    rng: random.Random, parts: Sequence[Polygon], canvas: tuple[int, int], horizon: float, slot: tuple[int, int]
) -> tuple[tuple[Polygon, ...], Points]:
    """Return the parts in pixels, standing on the ground of their slot (index, slots), and their bounds."""
    corners = np.array([part.bounds() for part in parts])
    low, high = corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)
    wide, tall = (high - low).tolist()
    room, height = canvas[0] / slot[1], canvas[1]
    scale, bottom = _scale_and_bottom(rng, wide / room, tall / height, horizon / height, alone=slot[1] == 1)
    left = room * slot[0] + rng.uniform(-0.04, 1.04) * (room - scale * wide)
    top, side = bottom * height - scale * tall, rng.choice((-1, 1))
    shift = (left - scale * min(side * low[0], side * high[0]), top + scale * high[1])
    bounds = np.array([(left, top), (left + scale * wide, top + scale * tall)])
    return tuple(part.transform((side * scale, -scale), shift) for part in parts), bounds


def _scale_and_bottom(rng: random.Random, wide: float, tall: float, horizon: float, alone: bool) -> tuple[float, float]:
    """Return pixels a unit and the height of the feet; heights, `wide` and `tall` in parts of the room."""
    if alone and tall > wide and rng.random() < 0.3:  # a portrait, which may end above the paws
        scale = rng.uniform(0.75, 0.95) / wide
        return scale, scale * tall + rng.uniform(0.02, 0.1)
    area = rng.uniform(0.28, 0.8)
    scale = min((area / (wide * tall)) ** 0.5, 0.97 / wide, 0.95 / tall)
    return scale, max(rng.uniform(horizon + 0.05, 0.98), scale * tall + 0.01)


def _visible_box(parts: Sequence[Polygon], bounds: Points, canvas: tuple[int, int]) -> Box:
    """Return the box in pixels of the image; a dog that extends beyond the image is measured on a mask."""
    if np.min(bounds) < 0 or (bounds[1] >= canvas).any():
        mask = Image.new("L", canvas)
        for part in parts:
            for polygon in part.polygons:
                fill(ImageDraw.Draw(mask), offset(polygon, part.outline), 255)
        bounds = np.array(mask.getbbox(), dtype=np.float64).reshape(2, 2) - ((0, 0), (1, 1))
    xmin, ymin, xmax, ymax = (int(value) // SUPERSAMPLING for value in bounds.flatten())
    return xmin, ymin, xmax, ymax


def _draw_shadow(image: Image.Image, bounds: Points) -> None:
    left, _, right, bottom = bounds.flatten().tolist()
    width, height = int(right - left), int(0.12 * (right - left))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((0, 0, width - 1, height - 1), fill=70)
    image.paste((20, 24, 30), (int(left), int(bottom - 0.6 * height)), mask)


def _add_camera_noise(rng: random.Random, image: Image.Image) -> Image.Image:
    """Return the image with random exposure, tint, blur and noise."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
    noise = np.random.default_rng(rng.getrandbits(64))
    gain = np.array([rng.uniform(0.9, 1.1) for _ in range(3)], dtype=np.float32) * rng.uniform(0.68, 1.15)
    pixels = np.asarray(image, dtype=np.float32) * gain + np.float32(rng.uniform(-8, 12))
    pixels += noise.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(1, 9))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
