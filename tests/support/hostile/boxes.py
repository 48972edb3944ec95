"""1,000 random boxes, cropped while preprocessing and in tf.data: a crop of the right size, or a reason."""

import io
import random
import re
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from dogbreed.core.storage import LocalStore
from dogbreed.data.examples import Example
from dogbreed.data.manifest import Manifest
from tests.support.hostile import made, preprocess
from tests.support.hostile.verdict import ACCEPTED, QUARANTINED, Item

COUNT, SIZE, MARGIN, SEED = 1000, 32, 0.25, 0
KEYS = tuple(f"{breed}/{breed[:9]}_{n}" for breed in made.BREEDS for n in range(COUNT // 2))
ODD = ("nan", "inf", "-inf", "1e308", "-1e308", "1e400", "99999999999999999999", "1_0", "٣", "１２", "0x10", " 12 ",
       "1e1", "", "-0", "3.5", "12.000000000000001", "1,5", "twelve", "1e-320", "+7")  # fmt: skip
NUMBER = re.compile(r"\s*[+-]?\d+(\.\d+)?(e[+-]?\d+)?\s*", re.ASCII)  # what a coordinate may be; float() takes more
TOLERANCE = 10  # of 255, mean difference between a view of the crop made now and of the one made later; measured: 6.6

Sides = tuple[str, str, str, str]


def sides(rng: random.Random) -> Sides:
    """Return left, top, right and bottom as text: inside, across the edge, reversed, empty, far away, no numbers."""
    left, top = rng.uniform(-30, made.WIDTH), rng.uniform(-30, made.HEIGHT)
    right, bottom = left + rng.uniform(0, 80), top + rng.uniform(0, 80)
    box = [f"{side:.{rng.choice((0, 2))}f}" for side in (left, top, right, bottom)]
    kind = rng.random()
    if kind < 0.1:
        box = [*box[2:], *box[:2]]  # reversed
    elif kind < 0.2:
        box[2] = box[0]  # empty
    elif kind < 0.5:
        box[rng.randrange(4)] = rng.choice(ODD)
    elif kind < 0.55:
        box = [rng.choice(ODD) for _ in range(4)]
    return box[0], box[1], box[2], box[3]


@cache
def all_sides() -> dict[str, Sides]:
    """Return the box of each photo."""
    rng = random.Random(SEED)
    return {key: sides(rng) for key in KEYS}


def expected(box: Sides) -> str:
    """Return what must become of a photo with this box, worked out from its text alone."""
    numbers = [float(side) if NUMBER.fullmatch(side) else float("nan") for side in box]
    if not np.isfinite(numbers).all():
        return f"{QUARANTINED}: unreadable annotation: .*"
    low, high = np.clip(np.reshape(numbers, (2, 2)), 0, (made.WIDTH, made.HEIGHT))
    side = high - low
    if min(side) < 1:
        return f"{QUARANTINED}: box .* holds no pixel of the image"
    grown = np.clip(high + MARGIN * side, 0, (made.WIDTH, made.HEIGHT)) - np.clip(low - MARGIN * side, 0, None)
    width, height = (max(1, round(part * min(1.0, SIZE / min(grown)))) for part in grown.tolist())
    return f"{ACCEPTED}: {width} x {height} inside the photo"


@cache
def results(crop: str) -> tuple[Path, Manifest, dict[str, Example]]:
    """Preprocess all photos with their boxes and return folder, manifest and records."""
    place = Path(tempfile.mkdtemp(prefix="hostile-boxes-"))
    files = {f"Images/{key}.jpg": made.encoded(made.picture(n)) for n, key in enumerate(KEYS)}
    xmls = {f"Annotation/{key}": made.annotation(key, box) for key, box in all_sides().items()}
    archives = {"images": files, "annotation": xmls, "lists": made.lists(KEYS)}
    raw = made.write_raw(place / "raw", **{name: made.tar(content) for name, content in archives.items()})
    options = ("--crop", crop, "--margin", str(MARGIN), "--max-quarantined", "1")
    manifest = preprocess.dataset(raw, place / "out", *options)
    return place / "out", manifest, preprocess.records(place / "out", manifest)


def _now(key: str, folder: Path) -> str:
    _, manifest, records = results("box")
    reasons = {entry.source_id: entry.reason for entry in manifest.quarantine}
    assert (key in reasons) != (key in records), "neither written nor quarantined, or both"
    if key in reasons:
        return f"{QUARANTINED}: {reasons[key]}"
    record, (width, height) = records[key], Image.open(io.BytesIO(records[key].encoded)).size
    box, size = record.original_box, (record.original_width, record.original_height)
    inside = 0 <= box.left < box.right <= made.WIDTH and 0 <= box.top < box.bottom <= made.HEIGHT
    inside = inside and size == (made.WIDTH, made.HEIGHT)
    return f"{ACCEPTED}: {width} x {height} {'inside' if inside else 'outside'} the photo"


@cache
def views(crop: str) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return each photo as tf.data shows it."""
    from dogbreed.data.input_pipeline import InputPipeline
    from dogbreed.data.resize import ResizeSpec

    out, manifest, records = results(crop)
    flow = InputPipeline(manifest, LocalStore(out), ResizeSpec(SIZE), 32, out / "cache")
    images = [image for split in manifest.splits for batch, _ in flow.eval_batches(split) for image in batch.numpy()]
    return dict(zip(records, images, strict=True))


def _later(key: str, folder: Path) -> str:
    """Compare what tf.data makes of a deferred crop with the crop made while preprocessing."""
    _, manifest, _ = results("defer")
    reasons = {entry.source_id: entry.reason for entry in manifest.quarantine}
    if key in reasons:
        return f"{QUARANTINED}: {reasons[key]}"
    now, later = views("box")[key], views("defer")[key]
    assert (later.shape, later.dtype) == ((SIZE, SIZE, 3), np.uint8), (later.shape, later.dtype)
    difference = float(np.abs(now.astype(int) - later).mean())
    return f"{ACCEPTED}: " + ("like the crop made now" if difference <= TOLERANCE else f"off by {difference:.1f}")


def _training(folder: Path) -> str:
    """Draw random views of the deferred crops for one epoch."""
    from dogbreed.data.augment import Augment
    from dogbreed.data.input_pipeline import InputPipeline
    from dogbreed.data.resize import ResizeSpec

    out, manifest, _ = results("defer")
    flow = InputPipeline(manifest, LocalStore(out), ResizeSpec(SIZE), 32, out / "cache")
    augment = Augment(min_area=0.05, max_aspect=2.0, hflip=True, margin_jitter=0.25)
    shapes = [batch.shape.as_list() for batch, _ in flow.train_batches(augment, seed=0, epochs=1)]
    assert shapes == [[32, SIZE, SIZE, 3]] * flow.steps_per_epoch("train"), shapes
    return f"{ACCEPTED}: every batch is whole"


def random_boxes() -> list[Item]:
    """Return a photo for each box, cropped while preprocessing."""
    return [Item(f"{key} {box}", partial(_now, key), expected(box)) for key, box in all_sides().items()]


def deferred_boxes() -> list[Item]:
    """Return the same photos cropped in tf.data."""
    items = [Item("an epoch of random views", _training, "accepted: every batch is whole")]
    for key, box in all_sides().items():
        wanted = expected(box)
        wanted = "accepted: like the crop made now" if wanted.startswith(ACCEPTED) else wanted
        items.append(Item(f"{key} {box}", partial(_later, key), wanted))
    return items
