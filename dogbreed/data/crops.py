"""From one source image to its examples: decode, select boxes, crop, encode."""

from dogbreed.data import images
from dogbreed.data.boxes import Box, select_boxes
from dogbreed.data.config import DatasetConfig
from dogbreed.data.examples import Example
from dogbreed.data.images import InvalidImage, Pixels
from dogbreed.data.plan import ShardPlan
from dogbreed.data.raw import SourceImage


def make_examples(plan: ShardPlan, image: SourceImage) -> list[Example] | InvalidImage:
    """Read one image and return an example for each box that is asked for, or why it cannot be used."""
    try:
        pixels = images.decode(plan.source.read(image))
        selected = select_boxes(image.boxes or (images.full_box(pixels),), plan.config.objects)
        return [
            _example(plan, image, pixels, f"{image.key}#{number}" if len(selected) > 1 else image.key, box)
            for number, box in enumerate(selected)
        ]
    except InvalidImage as error:
        return error


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
        label=plan.classes.index(image.breed),
        class_name=image.breed,
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
