"""From one source image to its examples: decode, select boxes, crop, encode."""

from dogbreed.data import image
from dogbreed.data.annotation import Box, choose_boxes
from dogbreed.data.image import BadPhoto, Pixels
from dogbreed.data.options import DatasetConfig
from dogbreed.data.plan import Plan
from dogbreed.data.records import Example
from dogbreed.data.sources import Photo


def crops(plan: Plan, photo: Photo) -> list[Example] | BadPhoto:
    """Read one image and return an example for each box that is asked for, or why it cannot be used."""
    try:
        pixels = image.decode(plan.source.read(photo))
        selected = choose_boxes(photo.boxes or (image.whole(pixels),), plan.config.objects)
        return [
            _example(plan, photo, pixels, f"{photo.key}#{number}" if len(selected) > 1 else photo.key, box)
            for number, box in enumerate(selected)
        ]
    except BadPhoto as error:
        return error


def _example(plan: Plan, photo: Photo, pixels: Pixels, source_id: str, box: Box) -> Example:
    own, config = image.visible(box, pixels), plan.config
    region = _region(pixels, own, config)
    stored = _resize(pixels, own, region, config)
    return Example(
        source_id=source_id,
        filename=photo.filename,
        encoded=image.encode(stored),
        height=stored.shape[0],
        width=stored.shape[1],
        label=plan.classes.index(photo.breed),
        class_name=photo.breed,
        boxes=_relative_boxes(photo.boxes, region),
        original_height=pixels.shape[0],
        original_width=pixels.shape[1],
        original_box=own,
    )


def _region(pixels: Pixels, box: Box, config: DatasetConfig) -> Box:
    """Return what is stored, in pixels of the source image: the box with its margin, or the whole image."""
    whole = image.whole(pixels)
    return box.grow(config.margin).clip(whole.width, whole.height) if config.crop == "box" else whole


def _resize(pixels: Pixels, box: Box, region: Box, config: DatasetConfig) -> Pixels:
    """Return the region, resized as the configuration says.

    A deferred crop keeps the whole image at the scale that the crop would have had, so that cropping later costs no
    detail.
    """
    size, squash = config.size, config.resize_mode == "squash"
    if config.crop == "defer":
        grown = box.grow(config.margin).clip(region.width, region.height)
        size = round(size * min(region.width, region.height) / min(grown.width, grown.height))
    return image.crop(pixels, region, size, config.resample, squash)


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
