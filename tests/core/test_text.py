"""Text of messages."""

from dogbreed.core.text import pluralize


def test_a_noun_agrees_with_its_number() -> None:
    assert [pluralize(count, "image") for count in (0, 1, 1234)] == ["0 images", "1 image", "1,234 images"]
    assert [pluralize(count, "class") for count in (1, 2)] == ["1 class", "2 classes"]
