"""Photos of every kind the archive holds, those that cannot be used, and the crop's geometry."""

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from dogbreed.data import images
from dogbreed.data.boxes import Box
from dogbreed.data.config import RESAMPLES
from dogbreed.data.images import InvalidImage, Pixels


def encoded(mode: str, colour: object, kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (encoded("RGB", (200, 100, 50), "JPEG"), (200, 100, 50)),
        (encoded("RGB", (200, 100, 50), "PNG"), (200, 100, 50)),
        (encoded("RGBA", (200, 100, 50, 128), "PNG"), (200, 100, 50)),
        (encoded("L", 77, "JPEG"), (77, 77, 77)),
        (encoded("LA", (77, 128), "PNG"), (77, 77, 77)),
        (encoded("1", 1, "PNG"), (255, 255, 255)),
        (encoded("P", 0, "PNG"), (0, 0, 0)),
        (encoded("CMYK", (0, 255, 255, 0), "JPEG"), (255, 0, 0)),
    ],
    ids=["jpeg", "png", "rgba", "grey", "grey-alpha", "bilevel", "palette", "cmyk"],
)
def test_every_kind_of_photo_becomes_rgb(data: bytes, colour: tuple[int, int, int]) -> None:
    photo = images.decode(data)
    assert photo.shape == (30, 40, 3)
    assert np.abs(photo.astype(int) - colour).max() <= 2


def test_the_photo_keeps_its_stored_orientation() -> None:
    turned = Image.new("RGB", (40, 30))
    exif = turned.getexif()
    exif[0x0112] = 6  # "rotate by 90 degrees to look at it"
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", exif=exif)
    assert images.decode(buffer.getvalue()).shape == (30, 40, 3)


def test_exif_that_pillow_cannot_read_leaves_the_stored_orientation_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(image: Image.Image) -> Image.Exif:
        raise SyntaxError("not a TIFF file")

    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "JPEG")
    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert images.decode_with_exif_orientation(buffer.getvalue(), "a/b.jpg").shape == (30, 40, 3)
    assert "damaged EXIF in a/b.jpg (not a TIFF file)" in caplog.text


def whole_jpeg() -> bytes:
    return images.encode(noise(64, 48))


def whole_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 48)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404 Not Found</html>", "web page"),
        (encoded("RGB", 0, "ICO"), "not an image of a known format"),
        (whole_jpeg()[:3000], "broken image"),
        (whole_jpeg()[:20], "not an image of a known format|broken image"),
        (whole_png()[:3000], "broken image"),
        (whole_png()[:200] + bytes(100) + whole_png()[300:], "broken image"),
    ],
    ids=["empty", "text", "ico", "cut-jpeg", "cut-header", "cut-png", "damaged-png"],
)
def test_what_is_no_whole_photo_is_a_bad_photo_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason):
        images.decode(data)


def test_a_photo_cut_anywhere_is_a_bad_photo() -> None:
    for data in (whole_jpeg(), whole_png()):
        for length in range(0, len(data) - 20, 97):
            with pytest.raises(InvalidImage):
                images.decode(data[:length])


def test_damaged_bytes_end_in_a_photo_or_a_bad_photo_and_in_nothing_else() -> None:
    random, ends = np.random.default_rng(0), Counter[str]()
    for data in (whole_jpeg(), whole_png()):
        for _ in range(300):
            damaged = bytearray(data)
            for at in random.integers(0, min(len(data), 1000), 4):
                damaged[at] = random.integers(0, 256)
            try:
                assert images.decode(bytes(damaged)).shape[2] == 3
                ends["photo"] += 1
            except InvalidImage:
                ends["bad photo"] += 1
    assert min(ends["photo"], ends["bad photo"]) > 20, ends


def test_a_photo_of_too_many_pixels_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PIXEL_LIMIT", 40 * 30)
    assert images.decode(encoded("RGB", 0, "PNG", (40, 30))).shape == (30, 40, 3)
    with pytest.raises(InvalidImage, match="41 x 30 pixels, limit 1200"):
        images.decode(encoded("RGB", 0, "PNG", (41, 30)))


def test_a_bomb_of_pixels_is_refused() -> None:
    data = bytearray(encoded("1", 0, "PNG"))
    header = data.index(b"IHDR") + 4
    data[header : header + 8] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(InvalidImage):
        images.decode(bytes(data))


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        (Box(0, 0, 300, 200), (96, 64)),
        (Box(0, 0, 200, 300), (64, 96)),
        (Box(50, 50, 178, 178), (64, 64)),
        (Box(10, 10, 74, 100), (64, 90)),
        (Box(10, 10, 50, 40), (40, 30)),
        (Box(10, 10, 11, 400), (1, 390)),
    ],
    ids=["wide", "tall", "square", "just-so", "small", "line"],
)
@pytest.mark.parametrize("resample", RESAMPLES)
def test_a_crop_keeps_its_aspect_and_its_shorter_side_is_the_size_but_never_larger(
    box: Box, shape: tuple[int, int], resample: str
) -> None:
    assert images.crop(noise(400, 400), box, 64, resample).shape == (*reversed(shape), 3)


@pytest.mark.parametrize("resample", RESAMPLES)
def test_a_crop_that_is_not_resized_holds_the_very_pixels_of_the_box(resample: str) -> None:
    photo = noise(100, 80)
    cropped = images.crop(photo, Box(10, 20, 50, 70), 64, resample)
    assert np.array_equal(cropped, photo[20:70, 10:50])


@pytest.mark.parametrize(("box", "side"), [(Box(0, 0, 300, 200), 64), (Box(10, 10, 50, 40), 30)])
def test_a_square_has_the_shorter_side_twice(box: Box, side: int) -> None:
    assert images.crop(noise(400, 400), box, 64, squash=True).shape == (side, side, 3)


def test_resampling_by_area_takes_the_mean_of_the_pixels_below_each_new_one() -> None:
    photo = noise(64, 64)
    cropped = images.crop(photo, Box(0, 0, 64, 64), 16, "area").astype(int)
    means = photo.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(cropped - means).max() <= 0.5


@pytest.mark.parametrize(("box", "square"), [(Box(0, 0, 300, 200), False), (Box(10, 30, 390, 131), True)])
def test_resampling_by_area_passes_over_no_pixel_where_the_factor_is_no_whole_number(box: Box, square: bool) -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255  # their mean, wherever a new pixel lies; every second pixel alone would be black or white
    cropped = images.crop(stripes, box, 64, "area", square).astype(int)
    assert np.abs(cropped - 127.5).max() <= 40


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_pixels_that_pillow_sees(subsampling: int, progressive: bool) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(97, 61)).save(buffer, "JPEG", subsampling=subsampling, progressive=progressive)
    assert np.array_equal(images.decode(buffer.getvalue()), np.asarray(Image.open(buffer)))


def test_a_box_is_seen_as_far_as_it_lies_in_the_photo() -> None:
    photo = noise(100, 80)
    assert images.clip_to_image(Box(10, 20, 104, 86), photo) == Box(10, 20, 100, 80)
    assert images.clip_to_image(Box(99, 79, 200, 200), photo) == Box(99, 79, 100, 80)


@pytest.mark.parametrize(
    "box",
    [Box(100, 0, 120, 50), Box(-9, -9, 0, 0), Box(50, 50, 20, 20), Box(5, 5, 5, 50), Box(99.5, 0, 200, 80)],
    ids=["right-of-it", "left-above", "reversed", "no-width", "half-a-pixel"],
)
def test_a_box_without_a_pixel_of_the_photo_makes_it_a_bad_photo(box: Box) -> None:
    with pytest.raises(InvalidImage, match="holds no pixel of the image"):
        images.clip_to_image(box, noise(100, 80))


def test_an_encoded_photo_is_a_baseline_rgb_jpeg_close_to_the_pixels() -> None:
    smooth = Image.fromarray(noise(8, 8)).resize((64, 64), Image.Resampling.BICUBIC)
    data = images.encode(np.asarray(smooth))
    assert data[:3] == b"\xff\xd8\xff"
    assert b"\xff\xc0" in data  # SOF0, baseline
    difference = images.decode(data).astype(int) - np.asarray(smooth)
    assert np.abs(difference).mean() < 3
    buffer = io.BytesIO()
    smooth.save(buffer, "JPEG", quality=images.JPEG_QUALITY)
    assert data == buffer.getvalue()


def test_the_versions_name_what_determines_the_bytes() -> None:
    assert images.versions()["pillow"] == Image.__version__
    assert images.versions()["libjpeg-turbo"][0].isdigit()


def test_a_contact_sheet_shows_the_photos_row_by_row() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    draw: Callable[[tuple[int, int, int]], bytes] = lambda colour: encoded("RGB", colour, "PNG")  # noqa: E731
    sheet = np.asarray(images.contact_sheet([draw(colour) for colour in colours], side=8, columns=2))
    assert sheet.shape == (16, 16, 3)
    assert [tuple(sheet[y, x]) for y, x in [(4, 4), (4, 12), (12, 4), (12, 12)]] == [*colours, (255, 255, 255)]
