"""From one photo to its records: decode, choose boxes, crop, encode."""

from dogbreed.data import image
from dogbreed.data.annotation import Box, choose_boxes
from dogbreed.data.image import BadPhoto, Pixels
from dogbreed.data.options import DatasetOptions
from dogbreed.data.plan import Plan
from dogbreed.data.records import Record
from dogbreed.data.sources import Photo


def crops(plan: Plan, photo: Photo) -> list[Record] | BadPhoto:
    """Read one photo and return a record for each box that is asked for, or why it cannot be used."""
    options, label = plan.options, plan.classes.index(photo.breed)
    try:
        pixels = image.decode(plan.source.read(photo))
        size = (pixels.shape[1], pixels.shape[0])
        boxes = choose_boxes(photo.boxes or (image.whole(pixels),), options.objects)
        records = []
        for position, box in enumerate(boxes):
            key = f"{photo.key}#{position}" if len(boxes) > 1 else photo.key
            seen = image.visible(box, pixels)
            records.append(Record(key, image.encode(_crop(pixels, seen, options)), label, size, seen))
    except BadPhoto as error:
        return error
    return records


def _crop(pixels: Pixels, box: Box, options: DatasetOptions) -> Pixels:
    """Return the box with its margin, or the whole photo, resized as the options say.

    A deferred crop keeps the whole photo at the scale that the crop would have had, so that cropping
    later costs no detail.
    """
    whole = image.whole(pixels)
    grown = box.grow(options.margin).clip(whole.width, whole.height)
    size = options.size
    if options.crop == "defer":
        size = round(size * min(whole.width, whole.height) / min(grown.width, grown.height))
    return image.crop(pixels, grown if options.crop == "box" else whole, size, options.resample, options.square)
