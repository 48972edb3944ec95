"""Annotations as published, odd ones, hostile ones; and the arithmetic of boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dogbreed.data.boxes import XML_LIMIT, Box, InvalidAnnotation, parse_voc, select_boxes

# the structure of n02085620_10976 and its like: tabs, a literal %s, the folder without its "n"
OBJECT = """\t<object>
\t\t<name>Chihuahua</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{}</xmin>
\t\t\t<ymin>{}</ymin>
\t\t\t<xmax>{}</xmax>
\t\t\t<ymax>{}</ymax>
\t\t</bndbox>
\t</object>
"""
HEAD = """<annotation>
\t<folder>%s</folder>
\t<filename>%s</filename>
\t<source>
\t\t<database>ImageNet database</database>
\t</source>
\t<size>
\t\t<width>500</width>
\t\t<height>375</height>
\t\t<depth>3</depth>
\t</size>
\t<segment>0</segment>
"""


def voc(*boxes: tuple[object, ...]) -> bytes:
    return (HEAD + "".join(OBJECT.format(*box) for box in boxes) + "</annotation>").encode()


def test_a_published_file_gives_its_box_whatever_name_it_carries() -> None:
    assert parse_voc(voc((25, 10, 276, 498))) == (Box(25.0, 10.0, 276.0, 498.0),)


def test_several_objects_keep_the_order_of_the_file() -> None:
    boxes = parse_voc(voc((1, 2, 3, 4), (10, 20, 110, 220), (5, 5, 6, 6)))
    assert boxes == (Box(1, 2, 3, 4), Box(10, 20, 110, 220), Box(5, 5, 6, 6))


def test_spaces_and_fractions_in_numbers_are_read() -> None:
    assert parse_voc(voc((" 1.5 ", "2", "30.25\n", 40))) == (Box(1.5, 2, 30.25, 40),)


def test_a_file_of_the_largest_allowed_size_is_read_and_one_byte_more_is_not() -> None:
    xml = voc((1, 2, 3, 4))
    padded = xml + b" " * (XML_LIMIT - len(xml))
    assert parse_voc(padded) == (Box(1, 2, 3, 4),)
    with pytest.raises(InvalidAnnotation, match="annotation of 65537 bytes, limit 65536"):
        parse_voc(padded + b" ")


BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;">]>
<annotation><object><bndbox><xmin>&c;</xmin></bndbox></object></annotation>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"""


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (voc(), "annotation without a box"),
        (b"<annotation/>", "annotation without a box"),
        (b"", "unreadable annotation"),
        (b"\x00\xff\xd8 not xml", "unreadable annotation"),
        (voc((1, 2, 3, 4))[:-20], "unreadable annotation"),
        (voc((1, 2, 3, "")), "unreadable annotation"),
        (voc((1, 2, 3, "many")), "unreadable annotation"),
        (voc((1, 2, 3, 4)).replace(b"xmax", b"right"), "unreadable annotation"),
        (BOMB, "unreadable annotation: .*DTDForbidden"),
        (OUTSIDE, "unreadable annotation: .*DTDForbidden"),
        (voc(("nan", 2, 3, 4)), "unreadable annotation"),
        (voc((1, 2, "inf", 4)), "unreadable annotation"),
        (b'<?xml version="1.0" encoding="dog"?><a/>', "unreadable annotation"),
    ],
    ids=[
        "no-object",
        "empty-root",
        "empty",
        "bytes",
        "cut",
        "no-number",
        "word",
        "no-side",
        "dtd-bomb",
        "outside-entity",
        "nan",
        "infinite",
        "unknown-encoding",
    ],
)
def test_what_cannot_be_used_is_a_bad_annotation_with_its_reason(xml: bytes, reason: str) -> None:
    with pytest.raises(InvalidAnnotation, match=reason):
        parse_voc(xml)


def test_a_box_that_leaves_the_photo_is_clipped_to_it() -> None:
    assert Box(-5, -1, 510, 381).clip(500, 375) == Box(0, 0, 500, 375)
    assert Box(600, 10, 700, 20).clip(500, 375).area == 0


def test_a_reversed_box_has_no_area() -> None:
    reversed_box = Box(276, 498, 25, 10)
    assert reversed_box.area == 0
    assert reversed_box.clip(500, 375).area == 0


def test_a_box_grows_by_a_share_of_its_own_sides() -> None:
    assert Box(10, 20, 110, 70).expand(0.1) == Box(0, 15, 120, 75)


def test_boxes_are_chosen_by_name() -> None:
    small, large, middle = Box(0, 0, 2, 2), Box(0, 0, 9, 9), Box(0, 0, 5, 5)
    boxes = (small, large, middle)
    assert select_boxes(boxes, "largest") == (large,)
    assert select_boxes(boxes, "first") == (small,)
    assert select_boxes(boxes, "each") == boxes


def test_of_boxes_of_one_size_the_first_is_the_largest() -> None:
    boxes = (Box(0, 0, 2, 2), Box(5, 5, 7, 7))
    assert select_boxes(boxes, "largest") == boxes[:1]


number = st.floats(-1e6, 1e6)
sides = st.floats(0, 1e6)


@given(number, number, number, number, st.integers(1, 5000), st.integers(1, 5000))
def test_a_clipped_box_lies_inside_the_photo(
    left: float, top: float, right: float, bottom: float, width: int, height: int
) -> None:
    box = Box(left, top, right, bottom).clip(width, height)
    assert 0 <= box.left <= width
    assert 0 <= box.right <= width
    assert 0 <= box.top <= height
    assert 0 <= box.bottom <= height
    assert box.clip(width, height) == box


@given(number, number, sides, sides, st.floats(0, 1))
def test_a_grown_box_holds_the_box(left: float, top: float, width: float, height: float, margin: float) -> None:
    box = Box(left, top, left + width, top + height)
    grown = box.expand(margin)
    assert grown.left <= box.left <= box.right <= grown.right
    assert grown.top <= box.top <= box.bottom <= grown.bottom
