"""The invented breeds: proportions, shapes, coat, and the coat's pattern.

Units: x to the right (the dog looks that way), y up, the ground at y = 0; a long-legged dog is about one
unit high at the shoulder. The names and synsets are made up, so that no result on them passes for a real
one; several breeds share a colour, so that a model has to look at their shape.
"""

import random
from dataclasses import dataclass

import numpy as np

from dogbreed.data.synthetic.drawing import Colour, Points, ellipse, shaded, spline, tube

Marks = tuple[tuple[Points, Colour], ...]
Area = tuple[float, float, float, float]  # left, bottom, width, height


@dataclass(frozen=True)
class Breed:
    """One invented breed; lengths in units."""

    synset: str
    name: str
    coat: Colour
    second: Colour  # the pattern's colour
    pattern: str  # plain, spots, patches, saddle, stripes or bib
    ears: str  # a key of EARS
    tail: str  # a key of TAILS
    legs: float  # from the ground to the chest
    length: float  # from the chest to the rump
    depth: float  # of the chest
    tuck: float  # by how much the loin is higher than the chest
    head: float  # radius of the skull
    snout: float  # from the skull to the nose
    muzzle: float  # half the height of the snout where it begins
    fluff: float = 0.0  # amplitude of the coat's curls


WHITE, TAN, GREY = (240, 236, 226), (205, 150, 92), (140, 144, 154)
BLACK, BROWN, RED = (52, 48, 54), (120, 74, 44), (190, 98, 48)
COATS = (WHITE, TAN, GREY, BROWN, RED)
BREEDS = (  # the numbers: legs, length, depth, tuck, head, snout, muzzle, fluff
    Breed("n90000001", "Long-eared_Sketchhound", TAN, BROWN, "plain", "long", "saber",
          0.42, 1.05, 0.40, 0.06, 0.19, 0.24, 0.12),
    Breed("n90000002", "Inkpot_terrier", TAN, BROWN, "plain", "pointed", "stub",
          0.34, 0.72, 0.36, 0.04, 0.18, 0.16, 0.10),
    Breed("n90000003", "Dotted_Doodlehound", WHITE, BLACK, "spots", "floppy", "whip",
          0.54, 0.98, 0.40, 0.10, 0.18, 0.20, 0.11),
    Breed("n90000004", "Saddle-backed_Sketch_shepherd", TAN, BLACK, "saddle", "pointed", "saber",
          0.50, 1.05, 0.42, 0.08, 0.19, 0.25, 0.12),
    Breed("n90000005", "low-slung_scribbler", RED, BROWN, "plain", "floppy", "saber",
          0.16, 1.25, 0.34, 0.03, 0.16, 0.26, 0.10),
    Breed("n90000006", "Crayon_spitz", WHITE, TAN, "plain", "pointed", "curl",
          0.34, 0.78, 0.44, 0.02, 0.21, 0.13, 0.10, 0.035),
    Breed("n90000007", "Scrawled_Charcoal_whippet", GREY, WHITE, "plain", "folded", "whip",
          0.58, 1.00, 0.36, 0.17, 0.15, 0.24, 0.085),
    Breed("n90000008", "Gouache_mastiff", GREY, BLACK, "plain", "floppy", "saber",
          0.42, 1.05, 0.54, 0.04, 0.25, 0.16, 0.17),
    Breed("n90000009", "Patchwork_Pencil-spaniel", WHITE, BROWN, "patches", "long", "plume",
          0.36, 0.92, 0.40, 0.05, 0.19, 0.17, 0.11),
    Breed("n90000010", "Cross-hatched_Pugdoodle", TAN, BLACK, "stripes", "round", "curl",
          0.27, 0.74, 0.44, 0.02, 0.23, 0.06, 0.13),
    Breed("n90000011", "Vermilion_foxdog", RED, WHITE, "bib", "pointed", "plume",
          0.42, 0.86, 0.38, 0.06, 0.18, 0.18, 0.095),
    Breed("n90000012", "Woolly_Pastel-poodle", WHITE, GREY, "plain", "floppy", "pompon",
          0.54, 0.80, 0.38, 0.04, 0.19, 0.22, 0.085, 0.035),
)  # fmt: skip


def body_marks(breed: Breed, rng: random.Random, trunk: Area, front: bool) -> Marks:
    """Return the marks of a trunk's coat, to be clipped to it: a shaded belly and the breed's pattern."""
    left, bottom, width, height = trunk
    belly = ellipse(left + width / 2, bottom - 0.04, 0.7 * width, 0.22 * height)
    patterns = {"spots": _spots, "patches": _patches, "stripes": _stripes, "saddle": _saddle, "bib": _bib}
    pattern = patterns.get(breed.pattern)
    marks = pattern(rng, trunk, front) if pattern else []
    return ((belly, shaded(breed.coat, 0.9)), *((mark, breed.second) for mark in marks))


def head_marks(breed: Breed, rng: random.Random, front: bool) -> Marks:
    """Return the marks of a head around (0, 0): spots, an eye patch, a dark mask, light cheeks."""
    r, side = breed.head, rng.choice((-1, 1)) if front else 1
    mask = ellipse(0 if front else r + 0.65 * breed.snout, -0.5 * r, 0.8 * r if front else 0.6 * r, 0.55 * r)
    marks: list[Points] = []
    if breed.pattern == "spots":
        at = [(rng.uniform(-r, r), rng.uniform(-r, r)) for _ in range(7)]
        marks = [_blob(rng, x, y, rng.uniform(0.02, 0.04)) for x, y in at]
    elif breed.pattern == "patches":
        marks = [_blob(rng, 0.42 * r * side, 0.3 * r, 0.5 * r)]
    elif breed.pattern in ("stripes", "saddle"):
        marks = [mask]
    elif breed.pattern == "bib":
        marks = [ellipse(0.55 * r * i, -0.65 * r, 0.62 * r, 0.5 * r) for i in ((-1, 1) if front else (1, 2))]
    return tuple((mark, breed.second) for mark in marks)


def _spots(rng: random.Random, trunk: Area, front: bool) -> list[Points]:
    x, y, width, height = trunk
    at = [(x + rng.uniform(0, width), rng.uniform(0.1, y + height + 0.3)) for _ in range(24 if front else 45)]
    return [_blob(rng, px, py, rng.uniform(0.022, 0.05)) for px, py in at]


def _patches(rng: random.Random, trunk: Area, front: bool) -> list[Points]:
    x, y, width, height = trunk
    if front:
        return [_blob(rng, x + i * width, y + rng.uniform(0.2, 0.7) * height, 0.18) for i in (0, 1)]
    at = [(x + (i + rng.random()) / 3 * width, y + rng.uniform(0.4, 1) * height) for i in range(3)]
    return [_blob(rng, px, py, rng.uniform(0.13, 0.2)) for px, py in at]


def _stripes(rng: random.Random, trunk: Area, front: bool) -> list[Points]:
    x, y, width, height = trunk
    if front:
        at = [(x + i * width, y + (j + 0.5 * rng.random()) / 6 * height) for i in (0, 1) for j in range(1, 5)]
        return [tube([(px, py), (px * 0.4, py - 0.06)], (0.03, 0.008)) for px, py in at]
    at = [(x + (i + rng.uniform(0.1, 0.6)) / 8 * width, y + rng.uniform(-0.06, 0.06)) for i in range(9)]
    lines = [[(px, py + height + 0.05), (px + 0.05, py + height / 2), (px - 0.02, py)] for px, py in at]
    return [tube(line, (0.026, 0.022, 0.01)) for line in lines]


def _saddle(rng: random.Random, trunk: Area, front: bool) -> list[Points]:
    x, y, width, height = trunk
    if front:
        return [_blob(rng, x + i * width, y + 0.5 * height, 0.3 * height) for i in (-0.1, 1.1)]
    above = [(-0.1, 0.5), (-0.1, 1.2), (0.5, 1.2), (0.85, 1.2)]
    below = [(0.95, 0.85), (0.7, 0.42), (0.4, 0.55), (0.15, 0.4)]
    rough = [(i + rng.uniform(-0.05, 0.05), j + rng.uniform(-0.07, 0.07)) for i, j in above + below]
    return [spline([(x + i * width, y + j * height) for i, j in rough])]


def _bib(rng: random.Random, trunk: Area, front: bool) -> list[Points]:
    x, y, width, height = trunk
    left, right, top = x - 0.4, x + width + 0.4, 0.13
    socks = np.array([(left, -1.0), (right, -1.0), (right, top), (left, top)])
    if front:
        return [_blob(rng, x + 0.5 * width, y + 0.75 * height, 0.3 * width), socks]
    chest = ellipse(x + width, y + 0.3 * height, 0.2 * width, 0.5 * height)
    return [chest, ellipse(x + 0.6 * width, y, 0.45 * width, 0.25 * height), socks]


def _blob(rng: random.Random, x: float, y: float, radius: float) -> Points:
    ring = ellipse(x, y, radius, radius)[::4].tolist()
    reach = 0.3 * radius
    return spline([(px + rng.uniform(-reach, reach), py + rng.uniform(-reach, reach)) for px, py in ring])
