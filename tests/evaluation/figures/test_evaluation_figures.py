"""What the pictures of an evaluation hold."""

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from dogbreed.evaluation.calibration import reliability_table
from dogbreed.evaluation.figures import bars, calibration, image_grids, style
from dogbreed.evaluation.metrics import per_class
from tests.support.drawing import certain, drawn, images, labels_of, texts

CLASSES = ["n02085620-Chihuahua", "n02110958-pug"]


def test_the_reliability_diagram_shows_the_error_and_which_way_it_goes() -> None:
    sure = reliability_table(np.array([0.95, 0.95]), np.array([True, False]))
    above, below = drawn(calibration.reliability_diagram(sure)).axes
    assert above.get_figure().get_suptitle() == "Calibration error (ECE) 45.0%, too sure by 45.0 points"
    assert [bar.get_height() for bar in above.patches] == [0.5, 0.95 - 0.5]  # type: ignore[attr-defined]
    assert sum(bar.get_height() for bar in below.patches) == 2  # type: ignore[attr-defined]
    shy = reliability_table(np.array([0.55, 0.55]), np.array([True, True]))
    assert calibration.reliability_diagram(shy).get_suptitle().endswith("not sure enough by 45.0 points")


def test_box_bars_have_a_panel_a_measure_and_an_interval_a_bar() -> None:
    rows = [
        ("share", "below 10 %", 4, 0.5, 0.2, 0.8),
        ("share", "from 10 %", 1, 1, 0.2, 1),
        ("side", "all", 5, 0.6, 0.2, 0.9),
    ]
    table = pd.DataFrame(rows, columns=["measure", "group", "images", "top1", "ci95_low", "ci95_high"])
    left, right = drawn(bars.box_bars(table, 0.6)).axes
    assert labels_of(left.get_xticklabels()) == ["below 10 %\n4 photos", "from 10 %\n1 photo"]
    assert [bar.get_height() for bar in left.patches] == [0.5, 1]  # type: ignore[attr-defined]
    assert left.collections[0].get_segments()[0][:, 1].tolist() == [0.2, 0.8]  # type: ignore[attr-defined]
    assert right.get_title() == "side (dashed: all photos)"


def test_recall_bars_mark_precision() -> None:
    table = per_class(np.array([0, 0, 1]), certain([0, 1, 1], 2), ["a", "b"])
    (axes,) = drawn(bars.recall_bars(table)).axes
    assert labels_of(axes.get_yticklabels()) == ["b", "a"]
    assert axes.lines[1].get_xdata().tolist() == [0.5, 1.0]  # type: ignore[union-attr]


def test_evidence_stands_beside_its_photo_and_is_yellow_where_it_is_strong() -> None:
    maps = np.zeros((2, 2, 2), np.float32)
    maps[0, 0, 0] = 1
    probabilities = certain([0, 0], 2)
    shown = np.full((2, 64, 64, 3), 128, np.uint8)
    figure = drawn(image_grids.grad_cam_grid(shown, maps, np.array([0, 1]), probabilities, CLASSES))
    assert figure.get_suptitle() == "What spoke for the predicted breed (Grad-CAM): 1 right, 1 wrong"
    photo, heat, wrong, none = figure.axes
    assert (texts(photo), texts(wrong)) == (["✓ 100%"], ["✗ 100%"])
    lit = np.asarray(heat.images[0].get_array())
    red, green, blue = lit[0, 0]
    assert red > blue
    assert green > blue
    red, green, blue = lit[-1, -1]
    assert blue > red
    assert np.ptp(np.asarray(none.images[0].get_array()), axis=(0, 1)).max() == 0  # no place speaks more than another


def test_pairs_have_words_and_right_and_wrong_photos_and_empty_places() -> None:
    pair = {"breed": "toy poodle", "other": "pug", "photos": 8, "share": 0.25}
    probabilities = certain([0, 1], 2)
    figure = drawn(
        image_grids.confusion_pairs_grid(
            pd.DataFrame([pair]), [[0, None, 1]], images(2), np.array([0, 0]), probabilities, CLASSES
        )
    )
    words, right, wrong = figure.axes
    assert texts(words) == ["toy\npoodle\n–\npug\n25% of 8 photos"]
    colours = [to_hex(axes.spines["left"].get_edgecolor()).upper() for axes in (right, wrong)]
    assert colours == [style.BLUE, style.VERMILLION]
    assert wrong.get_xlabel() == "true: Chihuahua\n✗ pug"


def test_a_split_without_confusions_has_an_empty_sheet_of_pairs() -> None:
    nothing = pd.DataFrame(columns=["breed", "other", "photos", "share"])
    assert (
        drawn(image_grids.confusion_pairs_grid(nothing, [], images(0), np.zeros(0, int), certain([], 2), CLASSES)).axes
        == []
    )


def test_a_drawn_figure_has_its_inches_times_its_dots_and_is_what_is_saved() -> None:
    picture = style.rasterize(image_grids.image_grid(images(1), np.array([0]), certain([0], 2), CLASSES, "one"))
    figure = image_grids.image_grid(images(1), np.array([0]), certain([0], 2), CLASSES, "one")
    width, height = figure.get_size_inches() * figure.dpi
    assert picture.size == (int(width), int(height))
    assert picture.mode == "RGB"
