"""Preview of a dataset: images by class and split, figures of its classes and duplicates."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from math import ceil

from PIL import Image, ImageDraw, ImageFont

from dogbreed.core.storage import Store
from dogbreed.core.text import pluralize
from dogbreed.data import images
from dogbreed.data.duplicate_groups import DuplicateGroup
from dogbreed.data.examples import read_shard
from dogbreed.data.manifest import Manifest
from dogbreed.data.plan import ShardPlan
from dogbreed.data.raw import Source
from dogbreed.data.shard_files import read_verified
from dogbreed.data.splits import TEST, TRAIN, VALIDATION

EACH = 8  # images of a class
TILE, CAPTION = 64, 16  # pixels
COLUMNS = 3  # classes side by side


def images_by_class(plan: ShardPlan, manifest: Manifest) -> Counter[tuple[str, str]]:
    """Return the number of written images of each (class, split)."""
    invalid = {entry.source_id for entry in manifest.quarantine}
    counts: Counter[tuple[str, str]] = Counter()
    for shard in plan.shards:
        counts.update((image.class_name, shard.split) for image in shard.images if image.source_id not in invalid)
    return counts


def classes_without_images(manifest: Manifest, counts: Counter[tuple[str, str]]) -> dict[str, list[str]]:
    """Return for validation and test the classes that have no image there, in label order."""
    return {split: [name for name in manifest.classes if not counts[name, split]] for split in (VALIDATION, TEST)}


def draw_classes(out: Store, manifest: Manifest, counts: Counter[tuple[str, str]]) -> Image.Image:
    """Return a figure with up to EACH train images of every class below its name."""
    shown = _first_of_each_class(out, manifest, counts)
    rows = ceil(len(manifest.classes) / COLUMNS)
    width, height = (EACH + 0.5) * TILE, TILE + CAPTION
    sheet = Image.new("RGB", (round(COLUMNS * width), rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION - 4)
    for label, name in enumerate(manifest.classes):
        column, row = divmod(label, rows)
        corner = (round(column * width), row * height)
        draw.text(corner, f"{name} ({pluralize(counts[name, TRAIN], 'train image')})", "black", font)
        tiles = images.contact_sheet(shown[label], TILE, EACH)
        sheet.paste(tiles, (corner[0], corner[1] + CAPTION))
    return sheet


def _first_of_each_class(out: Store, manifest: Manifest, counts: Counter[tuple[str, str]]) -> dict[int, list[bytes]]:
    """Return label -> the first encoded images, reading no more shards than are needed."""
    shown: dict[int, list[bytes]] = defaultdict(list)
    wanted = {label: min(EACH, counts[name, TRAIN]) for label, name in enumerate(manifest.classes)}
    for shard in manifest.split(TRAIN).shards:
        for example in read_shard(read_verified(out, shard)):
            if len(shown[example.label]) < wanted[example.label]:
                shown[example.label].append(example.encoded)
        if all(len(shown[label]) == count for label, count in wanted.items()):
            break
    return shown


def draw_duplicates(
    source: Source, groups: Sequence[DuplicateGroup], quarantine: Collection[str], count: int = 60
) -> Image.Image | None:
    """Return a figure of the first `count` groups, six a row: the representative and its first other image.

    Equal files need not be looked at, and images in `quarantine` (source ids) cannot be; None if there is nothing else.
    """
    by_id = {image.source_id: image for image in source.images if image.source_id not in quarantine}
    others = {
        group.representative: [m.source_id for m in group.members if m.kind != "file" and m.source_id in by_id]
        for group in groups
        if group.representative in by_id
    }
    pairs = [(representative, ids[0]) for representative, ids in others.items() if ids][:count]
    if not pairs:
        return None
    return images.contact_sheet([source.read(by_id[source_id]) for pair in pairs for source_id in pair], side=128)
