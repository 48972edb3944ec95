"""From planned images to committed shards and the manifest: decode, select boxes, crop, encode, write."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import ceil

from dogbreed.core.errors import DataError
from dogbreed.core.storage import Store
from dogbreed.data import images
from dogbreed.data.boxes import Box, select_boxes
from dogbreed.data.config import DatasetConfig
from dogbreed.data.duplicate_groups import commit_groups
from dogbreed.data.examples import Example, write_records
from dogbreed.data.images import InvalidImage, Pixels
from dogbreed.data.manifest import MANIFEST, Manifest, QuarantinedImage
from dogbreed.data.plan import ShardPlan
from dogbreed.data.raw import SourceImage
from dogbreed.data.record_cache import RecordCache, Records
from dogbreed.data.sharded_work import PlannedShard, ShardOutput, load_results, merge_results, process_shards
from dogbreed.data.splits import TRAIN

Examples = list[Example] | str  # of one image, or why there are none; an exception would keep the pixels in memory


def write_shards(
    plan: ShardPlan, numbers: Iterable[int], out: Store, pool: ThreadPoolExecutor, cache: RecordCache | None = None
) -> Iterator[int]:
    """Read, crop and write the images of these shards; an image that cannot be used is quarantined.

    Images whose records are in `cache` are not read again, and shards with most of these come first.

    Yields for each shard how many images it has: 0 for one that was complete already.
    """
    if cache and cache.classes != plan.classes:  # a class lost all its images as duplicates, so labels have changed
        cache = None
    if cache:
        missing = [cache.count_missing(image.source_id for image in shard.images) for shard in plan.shards]
        numbers = sorted(numbers, key=missing.__getitem__)

    def make_records(image: SourceImage) -> Records:
        records = cache.read(image.source_id) if cache else None
        return serialize(make_examples(plan, image)) if records is None else records

    def start(shard: PlannedShard[SourceImage]) -> Iterator[Records]:
        return pool.map(make_records, shard.images)

    return process_shards(plan, numbers, out, start, _collect)


def serialize(examples: Examples) -> Records:
    """Return the serialized examples of an image, or why there are none."""
    return examples if isinstance(examples, str) else [example.serialize() for example in examples]


def _collect(shard: PlannedShard[SourceImage], results: Iterable[Records]) -> ShardOutput:
    records: list[bytes] = []
    quarantine = []
    for image, result in zip(shard.images, results, strict=True):
        if isinstance(result, str):
            quarantine.append(QuarantinedImage(image.source_id, result))
        else:
            records += result
    data = write_records(records) if records else b""
    return ShardOutput(data, len(records), len(shard.images) - len(quarantine), tuple(quarantine))


def finalize(plan: ShardPlan, out: Store, max_quarantined: float) -> Manifest | None:
    """Write the groups of duplicates and the manifest, and return it, None while results of other workers are missing.

    Raises:
        DataError: more than `max_quarantined` (a fraction of all images) cannot be used, or a class has no image left
            to train on.
    """
    results = load_results(plan, out)
    if results is None:
        return None
    manifest = merge_results(plan, results)
    _check_quarantine(manifest, max_quarantined)
    _check_classes(plan, manifest)
    commit_groups(out, plan.duplicates)
    out.commit(MANIFEST, manifest.to_json())
    return manifest


def _check_quarantine(manifest: Manifest, max_quarantined: float) -> None:
    invalid = len(manifest.quarantine)
    total = invalid + sum(split.num_images for split in manifest.splits.values())
    if invalid > max_quarantined * total:
        shown = "; ".join(f"{entry.source_id}: {entry.reason}" for entry in manifest.quarantine[:5])
        raise DataError(
            f"{invalid} of {total} images cannot be used, --max-quarantined allows {max_quarantined:.2%} "
            f"({shown}{'; ...' if invalid > 5 else ''}); repair or remove them, or "
            f"allow them with --max-quarantined {ceil(1000 * invalid / total) / 1000:g}"
        )


def _check_classes(plan: ShardPlan, manifest: Manifest) -> None:
    invalid = {entry.source_id for entry in manifest.quarantine}
    train = [image for shard in plan.shards if shard.split == TRAIN for image in shard.images]
    usable = {image.class_name for image in train if image.source_id not in invalid}
    if empty := set(plan.classes) - usable:
        raise DataError(
            f"no image to train on for {', '.join(sorted(empty))}; repair the archive or select other classes "
            "with --classes"
        )


def make_examples(plan: ShardPlan, image: SourceImage) -> Examples:
    """Read one image and return an example for each box that is asked for, or why it cannot be used."""
    data = plan.source.read(image)
    try:
        pixels = images.decode(data)
    except InvalidImage as error:
        return str(error)
    return crop_examples(plan, image, data, pixels)


def crop_examples(plan: ShardPlan, image: SourceImage, data: bytes, pixels: Pixels) -> Examples:
    """Return what `make_examples` does, of an encoded image and its stored pixels.

    They are used as they are stored if there are boxes, which refer to that, else upright by EXIF.
    """
    try:
        if not image.boxes:
            pixels = images.rotate_by_exif(pixels, data, image.source_id)
        selected = select_boxes(image.boxes or (images.full_box(pixels),), plan.config.objects)
        return [
            _example(plan, image, pixels, f"{image.source_id}#{number}" if len(selected) > 1 else image.source_id, box)
            for number, box in enumerate(selected)
        ]
    except InvalidImage as error:
        return str(error)


def _example(plan: ShardPlan, image: SourceImage, pixels: Pixels, source_id: str, box: Box) -> Example:
    own, config = images.clip_to_image(box, pixels), plan.config
    region = _region(pixels, own, config)
    stored = _resize(pixels, own, region, config)
    return Example(
        source_id=source_id,
        filename=image.filename,
        encoded=images.encode(stored),
        height=stored.shape[0],
        width=stored.shape[1],
        label=plan.classes.index(image.class_name),
        class_name=image.class_name,
        boxes=_relative_boxes(image.boxes, region),
        original_height=pixels.shape[0],
        original_width=pixels.shape[1],
        original_box=own,
    )


def _region(pixels: Pixels, box: Box, config: DatasetConfig) -> Box:
    """Return what is stored, in pixels of the source image: the box with its margin, or the whole image."""
    whole = images.full_box(pixels)
    return box.expand(config.margin).clip(whole.width, whole.height) if config.crop == "box" else whole


def _resize(pixels: Pixels, box: Box, region: Box, config: DatasetConfig) -> Pixels:
    """Return the region, resized as the configuration says.

    A deferred crop keeps the whole image at the scale that the crop would have had, so that cropping later costs no
    detail.
    """
    size, squash = config.size, config.resize_mode == "squash"
    if config.crop == "defer":
        grown = box.expand(config.margin).clip(region.width, region.height)
        size = round(size * min(region.width, region.height) / min(grown.width, grown.height))
    return images.crop(pixels, region, size, config.resample, squash)


def _relative_boxes(boxes: tuple[Box, ...], region: Box) -> tuple[Box, ...]:
    """Return those of an image's boxes that are visible in a region of it, clipped to it, 0-1."""
    moved = [
        Box(box.left - region.left, box.top - region.top, box.right - region.left, box.bottom - region.top)
        for box in boxes
    ]
    clipped = [box.clip(region.width, region.height) for box in moved]
    return tuple(
        Box(box.left / region.width, box.top / region.height, box.right / region.width, box.bottom / region.height)
        for box in clipped
        if box.area > 0
    )
