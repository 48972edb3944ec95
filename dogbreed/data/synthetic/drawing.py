"""Curves, limbs and painted parts of the synthetic dogs and scenes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]  # [N, 2], x and y
Colour = tuple[int, int, int]  # RGB, 0-255
XY = Sequence[tuple[float, float]] | Points


@dataclass(frozen=True)
class Polygon:
    """Polygons of one colour inside one common outline; the marks are clipped to them."""

    polygons: tuple[Points, ...]
    colour: Colour
    marks: tuple[tuple[Points, Colour], ...] = ()
    outline: float = 0.0  # width, in the polygons' unit

    def bounds(self) -> Points:
        """Return [[xmin, ymin], [xmax, ymax]] with the outline."""
        points = np.concatenate([offset(polygon, self.outline) for polygon in self.polygons])
        return np.stack([points.min(axis=0), points.max(axis=0)])

    def transform(self, scale: tuple[float, float], shift: tuple[float, float]) -> "Polygon":
        """Return the part with every point multiplied by `scale`, then moved by `shift`."""
        return replace(
            self,
            polygons=tuple(polygon * scale + shift for polygon in self.polygons),
            marks=tuple((mark * scale + shift, colour) for mark, colour in self.marks),
            outline=self.outline * abs(scale[0]),
        )


def shaded(colour: Colour, factor: float) -> Colour:
    """Return the colour darker (factor below 1) or lighter, within 0-255."""
    red, green, blue = (max(0, min(255, round(value * factor))) for value in colour)
    return red, green, blue


def spline(points: XY, closed: bool = True, steps: int = 8) -> Points:
    """Return the Catmull-Rom curve through the points, `steps` samples a segment."""
    knots = np.asarray(points, dtype=np.float64)
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([before, knots, after])
    a, b, c, d = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    cubic = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    curve: Points = (0.5 * cubic).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """Return an axis-aligned ellipse of 28 points around (x, y)."""
    angle = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def normals(curve: Points, closed: bool) -> Points:
    """Return unit vectors to the right of the curve's direction (y up), one a point."""
    ends = (curve[-1:], curve[:1]) if closed else (curve[:1], curve[-1:])
    padded = np.concatenate([ends[0], curve, ends[1]])
    along = padded[2:] - padded[:-2]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    right: Points = np.stack([along[:, 1], -along[:, 0]], axis=1) / length[:, None]
    return right


def offset(polygon: Points, distance: float | Points) -> Points:
    """Return the polygon with its points moved outward by a distance, or by one distance [N, 1] each."""
    x, y = polygon.T
    turns_left = np.dot(x[:-1], y[1:]) + x[-1] * y[0] > np.dot(x[1:], y[:-1]) + x[0] * y[-1]
    outward = normals(polygon, closed=True) * (1.0 if turns_left else -1.0)
    return polygon + outward * distance


def tube(points: XY, radii: Sequence[float]) -> Points:
    """Return a limb's contour: a round-ended stroke along the points, its radius changing along `radii`."""
    line = spline(points, closed=False, steps=6)
    radius = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(radii)), radii)[:, None]
    side = normals(line, closed=False)
    ahead = np.stack([-side[:, 1], side[:, 0]], axis=1)
    turn = np.linspace(0.3, math.pi - 0.3, 5)[:, None]
    tip = line[-1] + radius[-1] * (np.cos(turn) * side[-1] + np.sin(turn) * ahead[-1])
    root = line[0] - radius[0] * (np.cos(turn) * side[0] + np.sin(turn) * ahead[0])
    return np.concatenate([line + side * radius, tip, (line - side * radius)[::-1], root])


def rotate(points: Points, angle: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Return the points turned about the origin by radians, then moved by (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    result: Points = points @ np.array([[cos, sin], [-sin, cos]]) + np.array((x, y))
    return result


def curl(polygon: Points, amplitude: float) -> Points:
    """Return the polygon with a scalloped edge, one curl every 0.1 units."""
    if amplitude == 0:
        return polygon
    closed = np.concatenate([polygon, polygon[:1]])
    way = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    curls = max(6, round(float(way[-1]) / 0.1))
    at = np.linspace(0, way[-1], 8 * curls, endpoint=False)
    dense = np.stack([np.interp(at, way, closed[:, axis]) for axis in (0, 1)], axis=1)
    wave: Points = np.abs(np.sin(np.arange(len(dense)) * math.pi / 8))[:, None]
    return offset(dense, wave * amplitude)


def fill(pen: ImageDraw.ImageDraw, polygon: Points, colour: Colour | int) -> None:
    """Fill a polygon given in pixels."""
    pen.polygon([(x, y) for x, y in polygon.tolist()], fill=colour)


def paint(image: Image.Image, part: Polygon, ink: Colour) -> None:
    """Paint a part, given in pixels, onto the RGB image: outline, polygons, marks."""
    pen = ImageDraw.Draw(image)
    if part.outline > 0:
        for polygon in part.polygons:
            fill(pen, offset(polygon, part.outline), ink)
    for polygon in part.polygons:
        fill(pen, polygon, part.colour)
    if part.marks:
        _paint_marks(image, part)


def _paint_marks(image: Image.Image, part: Polygon) -> None:
    points = np.concatenate(part.polygons)
    low, high = points.min(axis=0), points.max(axis=0)
    left, top = int(max(0, low[0])), int(max(0, low[1]))
    size = int(min(image.width, high[0] + 2)) - left, int(min(image.height, high[1] + 2)) - top
    if min(size) <= 0:
        return
    coat, mask = Image.new("RGB", size, part.colour), Image.new("L", size)
    for mark, colour in part.marks:
        fill(ImageDraw.Draw(coat), mark - (left, top), colour)
    for polygon in part.polygons:
        fill(ImageDraw.Draw(mask), polygon - (left, top), 255)
    image.paste(coat, (left, top), mask)
