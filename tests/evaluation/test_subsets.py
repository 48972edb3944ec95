"""Lists of the images behind pretrained weights, and which images of a dataset they name."""

import pytest

from dogbreed.core.errors import DataError
from dogbreed.evaluation.subsets import is_seen, parse_image_list


def test_a_list_of_imagenet_images_is_read_with_folders_extensions_and_numbers() -> None:
    listing = b"n01440764/n01440764_10026 1\nn02085620_7.JPEG\r\n/data/train/n02085620/n02085620_8.JPEG\n\xff\n"
    assert parse_image_list(listing) == {"n01440764_10026", "n02085620_7", "n02085620_8"}
    assert is_seen("n02085620-Chihuahua/n02085620_7#1", parse_image_list(listing))
    assert is_seen("n02085620-Chihuahua/n02085620_7", parse_image_list(listing))
    assert not is_seen("n02085620-Chihuahua/n02085620_9", parse_image_list(listing))


@pytest.mark.parametrize("suffix", ["", ".jpg", ".JPEG", ".png", ".jpg#1"])
def test_an_image_is_in_the_list_with_and_without_its_suffix(suffix: str) -> None:
    for listing in (b"n02085620/n02085620_7 1\n", b"n02085620_7.JPEG\n", b"n02085620\n"):
        assert is_seen(f"train/n02085620-Chihuahua/n02085620_7{suffix}", parse_image_list(listing))
    assert not is_seen(f"n02085620-Chihuahua/n02085620_70{suffix}", parse_image_list(b"n02085620_7.JPEG\n"))


def test_a_list_may_name_whole_classes() -> None:
    names = parse_image_list(b"n02085620-Chihuahua\r\nn02085936\nn02086240_3\n")
    assert names == {"n02085620", "n02085936", "n02086240_3"}
    assert is_seen("n02085620-Chihuahua/n02085620_9", names)
    assert not is_seen("n02086240-Shih-Tzu/n02086240_9", names)


def test_a_list_without_an_image_of_imagenet_is_refused() -> None:
    with pytest.raises(DataError, match="n02085620_7"):
        parse_image_list(b"dog.jpg")
