"""Bounding boxes: selection, margin and clipping; and the Pascal VOC annotation files that hold them."""

import math
import re
import unicodedata
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

XML_LIMIT = 64 << 10  # bytes; the largest published annotation has under 4 KiB
REASON_LIMIT = 200  # characters of a parser's message about hostile content
NUMBER = re.compile(r"\s*[+-]?\d+(\.\d+)?(e[+-]?\d+)?\s*", re.ASCII)  # float() also accepts 1_000 and Arabic digits


class InvalidAnnotation(ValueError):
    """An annotation file that cannot be used; the text is the reason that the manifest keeps."""


@dataclass(frozen=True)
class Box:
    """A rectangle in stored pixels, 0-based: left and top inclusive, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels; negative where right is left of left."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels; negative where bottom is above top."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Square pixels; 0 where right is left of left."""
        return max(self.width, 0) * max(self.height, 0)

    def clip(self, width: float, height: float) -> "Box":
        """Return the part inside an image of `width` x `height` pixels; its area may be 0."""
        return Box(
            min(max(self.left, 0), width),
            min(max(self.top, 0), height),
            min(max(self.right, 0), width),
            min(max(self.bottom, 0), height),
        )

    def expand(self, margin: float) -> "Box":
        """Return the box with `margin` times its width and height added on each side."""
        x, y = margin * self.width, margin * self.height
        return Box(self.left - x, self.top - y, self.right + x, self.bottom + y)


def parse_voc(xml: bytes, class_name: str | None = None) -> tuple[Box, ...]:
    """Return the boxes of the objects of a Pascal VOC file that are of `class_name` (None: of all), in its own order.

    An object's parts have boxes of their own, which are left out. The file name inside the file is ignored: 624
    published files have a literal `%s` there.

    Raises:
        InvalidAnnotation: anything but a plain file with at least one box, or no object is of `class_name`.
    """
    if len(xml) > XML_LIMIT:
        raise InvalidAnnotation(f"annotation of {len(xml)} bytes, limit {XML_LIMIT}")
    try:
        root = fromstring(xml, forbid_dtd=True)
        objects = [
            (element.findtext("name", "").strip(), _box(box))
            for element in root.iter("object")
            for box in element.findall("bndbox")
        ]
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InvalidAnnotation(f"unreadable annotation: {error}"[:REASON_LIMIT]) from error
    if not objects:
        raise InvalidAnnotation("annotation without a box")
    boxes = tuple(box for name, box in objects if class_name is None or is_same_name(name, class_name))
    if not boxes:
        names = sorted({name for name, _ in objects})
        raise InvalidAnnotation(f"annotation names {', '.join(names)}, the folder {class_name}"[:REASON_LIMIT])
    return boxes


def is_same_name(name: str, other: str) -> bool:
    """Tell whether two names of a class differ at most in case, Unicode form, and blanks instead of underscores."""
    first, second = (unicodedata.normalize("NFC", text).replace("_", " ").casefold() for text in (name, other))
    return first == second


def _box(element: Element) -> Box:
    sides = [element.findtext(side, "") for side in ("xmin", "ymin", "xmax", "ymax")]
    numbers = [float(side) for side in sides if NUMBER.fullmatch(side)]
    if not (len(numbers) == 4 and all(map(math.isfinite, numbers))):
        raise ValueError(f"box {sides}")
    return Box(*numbers)


def select_boxes(boxes: tuple[Box, ...], objects: str) -> tuple[Box, ...]:
    """Return the `largest` box, the `first` or `each`."""
    if objects == "each":
        return boxes
    if objects == "first":
        return boxes[:1]
    return (max(boxes, key=lambda box: box.area),)
