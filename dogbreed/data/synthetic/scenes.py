"""The scenes of synthetic images: meadow, beach, room, snow and street, with some clutter."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dogbreed.data.synthetic.drawing import Colour, ellipse, fill, shaded, spline

BRIGHT: tuple[Colour, ...] = (
    (208, 80, 76), (84, 132, 190), (232, 186, 82), (134, 170, 110), (170, 120, 176), (92, 168, 168),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A picture being drawn; lengths in pixels, the horizon from the top."""

    rng: random.Random
    pen: ImageDraw.ImageDraw
    width: int
    height: int
    horizon: float
    ground: Colour

    def x(self) -> float:
        """Return a random column."""
        return self.rng.random() * self.width

    def on_ground(self) -> tuple[float, float]:
        """Return a random point below the horizon."""
        return self.x(), self.rng.uniform(self.horizon, self.height)

    def span(self, low: float, high: float) -> float:
        """Return a random length, given in parts of the height."""
        return self.rng.uniform(low, high) * self.height


def draw_scene(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, float]:
    """Return an empty scene, an RGB image of this (width, height), and its horizon in pixels from the top."""
    back, front, furnish = rng.choice(SCENES)
    image, horizon = Image.new("RGB", size), rng.uniform(0.38, 0.66) * size[1]
    scene = Scene(rng, ImageDraw.Draw(image), *size, horizon, _varied(rng, front))
    _gradient(scene, _varied(rng, back), 0, horizon)
    _gradient(scene, scene.ground, horizon, size[1])
    furnish(scene)
    return image, horizon


def draw_foreground(rng: random.Random, image: Image.Image) -> None:
    """Cover a little of the lower edge in about one picture of three: by a ball or a bush."""
    if rng.random() > 0.35:
        return
    scene = Scene(rng, ImageDraw.Draw(image), *image.size, 0.0, _varied(rng, (92, 134, 74)))
    x, r = scene.x(), scene.span(0.05, 0.1)
    if rng.random() < 0.5:
        _ball(scene, x, scene.height - rng.uniform(0.6, 1.5) * r, r)
        return
    for dx in (-1.6, -0.6, 0.5, 1.5):
        leaves = ellipse(x + dx * r, scene.height - rng.uniform(0, 0.5) * r, 0.9 * r, 0.9 * r)
        fill(scene.pen, leaves, shaded(scene.ground, rng.uniform(0.85, 1.1)))


def _varied(rng: random.Random, colour: Colour) -> Colour:
    red, green, blue = (round(value + rng.uniform(-18, 18)) for value in colour)
    return shaded((red, green, blue), rng.uniform(0.9, 1.06))


def _gradient(scene: Scene, colour: Colour, top: float, bottom: float) -> None:
    edges = np.linspace(top, bottom, 13).tolist()
    for band in range(12):
        strip = (0, edges[band], scene.width, edges[band + 1])
        scene.pen.rectangle(strip, fill=shaded(colour, 0.94 + 0.01 * band))


def _meadow(scene: Scene) -> None:
    width, height, horizon, rng = scene.width, scene.height, scene.horizon, scene.rng
    crests = [(0.2, -rng.uniform(0.05, 0.16)), (0.6, -rng.uniform(0, 0.1)), (1.1, -0.06)]
    hills = spline([(x * width, horizon + y * height) for x, y in [(-0.1, 0.1), *crests, (1.1, 0.1)]])
    fill(scene.pen, hills, shaded(scene.ground, 0.82))
    scene.pen.rectangle((0, horizon, width, horizon + 0.08 * height), fill=shaded(scene.ground, 0.94))
    _clouds(scene)
    for _ in range(rng.randint(0, 3)):
        _tree(scene, scene.x(), scene.span(0.2, 0.4))
    for _ in range(60):
        x, y = scene.on_ground()
        flower = rng.random() < 0.15
        colour = rng.choice(BRIGHT) if flower else shaded(scene.ground, rng.uniform(0.75, 1.15))
        scene.pen.line((x, y, x + rng.uniform(-3, 3), y - 0.035 * height), fill=colour, width=2)


def _beach(scene: Scene) -> None:
    sea = (0, scene.horizon - scene.span(0.08, 0.22), scene.width, scene.horizon)
    scene.pen.rectangle(sea, fill=_varied(scene.rng, (72, 148, 188)))
    scene.pen.line((0, scene.horizon, scene.width, scene.horizon), fill=(240, 246, 248), width=6)
    _clouds(scene)
    if scene.rng.random() < 0.6:
        x, top, r = scene.x(), scene.horizon - scene.span(0.15, 0.3), scene.span(0.14, 0.22)
        scene.pen.line((x, top, x, scene.horizon + 0.1 * scene.height), fill=(120, 90, 70), width=6)
        umbrella = (x - r, top - 0.4 * r, x + r, top + 0.6 * r)
        scene.pen.pieslice(umbrella, 180, 360, fill=scene.rng.choice(BRIGHT))
    for _ in range(50):
        x, y = scene.on_ground()
        scene.pen.ellipse((x, y, x + 5, y + 3), fill=shaded(scene.ground, scene.rng.uniform(0.8, 1.1)))


def _room(scene: Scene) -> None:
    width, height, horizon, rng, pen = scene.width, scene.height, scene.horizon, scene.rng, scene.pen
    wallpaper, step = _varied(rng, (206, 190, 170)), int(width * rng.uniform(0.06, 0.16))
    for x in range(0, width, step):
        pen.rectangle((x, 0, x + 0.4 * step, horizon), fill=wallpaper)
    pen.rectangle((0, horizon - 0.03 * height, width, horizon), fill=(240, 236, 228))
    for y in np.linspace(horizon, height, 5)[1:].tolist():
        pen.line((0, y, width, y), fill=shaded(scene.ground, 0.9), width=2)
    left = 0.7 * scene.x()
    frame = (left, 0.06 * height, left + 0.2 * width, 0.24 * height)
    pen.rectangle(frame, fill=rng.choice(BRIGHT), outline=(96, 70, 50), width=6)
    if rng.random() < 0.6:
        _sofa(scene, rng.uniform(-0.1, 0.6) * width, 0.5 * width)
    if rng.random() < 0.5:
        rug = (0.1 * width, horizon + 0.12 * height, 0.9 * width, 1.1 * height)
        pen.ellipse(rug, fill=shaded(rng.choice(BRIGHT), 0.85))


def _snow(scene: Scene) -> None:
    for _ in range(scene.rng.randint(1, 5)):
        _fir(scene, scene.x(), scene.span(0.2, 0.42))
    for _ in range(3):
        drift = ellipse(scene.x(), scene.horizon + 0.1 * scene.height, 0.4 * scene.width, 0.1 * scene.height)
        fill(scene.pen, drift, shaded(scene.ground, 0.97))
    for _ in range(70):
        x, y, r = scene.x(), scene.span(0, 1), scene.rng.uniform(1, 4)
        scene.pen.ellipse((x - r, y - r, x + r, y + r), fill=(252, 253, 255))


def _street(scene: Scene) -> None:
    width, height, horizon, pen = scene.width, scene.height, scene.horizon, scene.pen
    x = 0.0
    while x < width:
        wide = scene.rng.uniform(0.16, 0.34) * width
        _house(scene, x, wide, horizon - scene.span(0.2, 0.6))
        x += wide
    pen.rectangle((0, horizon, width, horizon + 0.05 * height), fill=shaded(scene.ground, 1.2))
    post = scene.x()
    pen.line((post, 0.1 * height, post, horizon + 0.06 * height), fill=(60, 62, 68), width=7)
    pen.ellipse((post - 12, 0.1 * height - 12, post + 12, 0.1 * height + 12), fill=(250, 232, 170))
    for dash in np.arange(0, width, 0.3 * width).tolist():
        pen.rectangle((dash, 0.9 * height, dash + 0.16 * width, 0.92 * height), fill=(236, 232, 210))


def _house(scene: Scene, left: float, wide: float, top: float) -> None:
    colour = scene.rng.choice(((176, 124, 104), (150, 152, 160), (196, 178, 142)))
    scene.pen.rectangle((left, top, left + wide, scene.horizon), fill=_varied(scene.rng, colour))
    across, down = 0.08 * scene.width, 0.1 * scene.height
    for y in np.arange(top + 0.3 * down, scene.horizon - 0.7 * down, down).tolist():
        for x in np.arange(left + 0.3 * across, left + wide - 0.6 * across, across).tolist():
            scene.pen.rectangle((x, y, x + 0.5 * across, y + 0.5 * down), fill=(214, 224, 226))


def _clouds(scene: Scene) -> None:
    for _ in range(scene.rng.randint(0, 3)):
        x, y, r = scene.x(), scene.span(0.05, 0.25), scene.rng.uniform(0.03, 0.06) * scene.width
        for dx, up in ((-1.2, 0.7), (0, 1.2), (1.2, 0.7)):
            scene.pen.ellipse((x + (dx - 1) * r, y - up * r, x + (dx + 1) * r, y + r), fill=(246, 249, 252))


def _tree(scene: Scene, x: float, tall: float) -> None:
    trunk = (x - 0.05 * tall, scene.horizon - 0.5 * tall, x + 0.05 * tall, scene.horizon)
    scene.pen.rectangle(trunk, fill=(112, 84, 60))
    green = _varied(scene.rng, (84, 132, 66))
    for dx, up, r in ((-0.18, 0.6, 0.2), (0.18, 0.62, 0.2), (0, 0.8, 0.24)):
        fill(scene.pen, ellipse(x + dx * tall, scene.horizon - up * tall, r * tall, r * tall), green)


def _fir(scene: Scene, x: float, tall: float) -> None:
    green = _varied(scene.rng, (58, 96, 82))
    for tier in range(3):
        y, half = scene.horizon - tier * 0.26 * tall, (0.3 - 0.07 * tier) * tall
        triangle = [(x - half, y), (x + half, y), (x, y - 0.5 * tall)]
        scene.pen.polygon(triangle, fill=shaded(green, 1 + 0.1 * tier))


def _sofa(scene: Scene, x: float, wide: float) -> None:
    colour, floor = shaded(scene.rng.choice(BRIGHT), 0.8), scene.horizon
    back = (x, floor - 0.5 * wide, x + wide, floor + 0.05 * wide)
    seat = (x - 0.06 * wide, floor - 0.25 * wide, x + 1.06 * wide, floor + 0.12 * wide)
    scene.pen.rounded_rectangle(back, 0.08 * wide, fill=shaded(colour, 0.85))
    scene.pen.rounded_rectangle(seat, 0.06 * wide, fill=colour)


def _ball(scene: Scene, x: float, y: float, r: float) -> None:
    colour = scene.rng.choice(BRIGHT)
    fill(scene.pen, ellipse(x, y, r, r), shaded(colour, 0.6))
    fill(scene.pen, ellipse(x, y, r - 4, r - 4), colour)
    scene.pen.arc((x - 0.6 * r, y - r + 4, x + 0.6 * r, y + r - 4), 90, 270, fill=(250, 246, 236), width=5)


Place = tuple[Colour, Colour, Callable[[Scene], None]]  # behind, the ground, what stands there
SCENES: tuple[Place, ...] = (
    ((168, 208, 236), (126, 172, 84), _meadow),
    ((176, 216, 240), (232, 208, 156), _beach),
    ((222, 204, 178), (166, 120, 84), _room),
    ((206, 218, 232), (240, 244, 250), _snow),
    ((190, 202, 214), (150, 150, 152), _street),
)
