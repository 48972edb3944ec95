"""What a dataset looks like: photos by breed and split, a contact sheet of breeds."""

from collections import Counter, defaultdict
from math import ceil

from PIL import Image, ImageDraw, ImageFont

from dogbreed.core.storage import Store
from dogbreed.data import images
from dogbreed.data.examples import read_shard
from dogbreed.data.manifest import Manifest, read_verified
from dogbreed.data.plan import ShardPlan
from dogbreed.data.splits import TRAIN

EACH = 8  # crops of a breed
TILE, CAPTION, COLUMNS = 64, 16, 3  # pixels, pixels, breeds side by side


def images_by_class(plan: ShardPlan, manifest: Manifest) -> Counter[tuple[str, str]]:
    """Return the number of written photos of each (breed, split)."""
    bad = {entry.source_id for entry in manifest.quarantine}
    return Counter((photo.breed, split) for split, photos in plan.shards for photo in photos if photo.key not in bad)


def draw_classes(out: Store, manifest: Manifest, counts: Counter[tuple[str, str]]) -> Image.Image:
    """Return up to EACH train crops of every breed below its name, breed by breed, as one picture."""
    shown = _first_of_each_class(out, manifest, counts)
    rows, width, height = ceil(len(manifest.classes) / COLUMNS), (EACH + 0.5) * TILE, TILE + CAPTION
    sheet = Image.new("RGB", (round(COLUMNS * width), rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION - 4)
    for label, breed in enumerate(manifest.classes):
        column, row = divmod(label, rows)
        corner = (round(column * width), row * height)
        draw.text(corner, f"{breed} ({counts[breed, TRAIN]:,} train photos)", "black", font)
        crops = images.contact_sheet(shown[label], TILE, EACH)
        sheet.paste(crops, (corner[0], corner[1] + CAPTION))
    return sheet


def _first_of_each_class(out: Store, manifest: Manifest, counts: Counter[tuple[str, str]]) -> dict[int, list[bytes]]:
    """Return label -> the first encoded crops, reading no more shards than are needed."""
    shown: dict[int, list[bytes]] = defaultdict(list)
    wanted = {label: min(EACH, counts[breed, TRAIN]) for label, breed in enumerate(manifest.classes)}
    for shard in manifest.split(TRAIN).shards:
        for example in read_shard(read_verified(out, shard)):
            if len(shown[example.label]) < wanted[example.label]:
                shown[example.label].append(example.encoded)
        if all(len(shown[label]) == count for label, count in wanted.items()):
            break
    return shown
