"""The content of the figures of an evaluation."""

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
    assert above.get_figure().get_suptitle() == "Calibration error (ECE) 45.0%, overconfident by 45.0 points"
    assert [bar.get_height() for bar in above.patches] == [0.5, 0.95 - 0.5]  # type: ignore[attr-defined]
    assert sum(bar.get_height() for bar in below.patches) == 2  # type: ignore[attr-defined]
    shy = reliability_table(np.array([0.55, 0.55]), np.array([True, True]))
    assert calibration.reliability_diagram(shy).get_suptitle().endswith("underconfident by 45.0 points")


def test_one_image_has_whole_numbers_on_the_axis_of_images() -> None:
    table = reliability_table(np.array([0.6]), np.array([True]))
    _, below = drawn(calibration.reliability_diagram(table)).axes
    assert set(below.get_yticks()) <= {0, 1, 2}


def test_box_bars_have_one_panel_per_measure_and_one_interval_per_bar() -> None:
    rows = [
        ("share", "below 10 %", 4, 0.5, 0.2, 0.8),
        ("share", "from 10 %", 1, 1, 0.2, 1),
        ("side", "all", 5, 0.6, 0.2, 0.9),
    ]
    table = pd.DataFrame(rows, columns=["measure", "group", "images", "top1", "ci95_low", "ci95_high"])
    left, right = drawn(bars.box_bars(table, 0.6)).axes
    assert labels_of(left.get_xticklabels()) == ["below 10 %\n4 images", "from 10 %\n1 image"]
    assert [bar.get_height() for bar in left.patches] == [0.5, 1]  # type: ignore[attr-defined]
    assert left.collections[0].get_segments()[0][:, 1].tolist() == [0.2, 0.8]  # type: ignore[attr-defined]
    assert right.get_title() == "side (dashed: all images)"


def test_recall_bars_mark_precision() -> None:
    table = per_class(np.array([0, 0, 1]), certain([0, 1, 1], 2), ["a", "b"])
    (axes,) = drawn(bars.recall_bars(table)).axes
    assert labels_of(axes.get_yticklabels()) == ["b", "a"]
    assert axes.lines[1].get_xdata().tolist() == [0.5, 1.0]  # type: ignore[union-attr]


def test_the_heat_map_is_beside_its_image_and_yellow_at_its_maximum() -> None:
    maps = np.zeros((2, 2, 2), np.float32)
    maps[0, 0, 0] = 1
    probabilities = certain([0, 0], 2)
    shown = np.full((2, 64, 64, 3), 128, np.uint8)
    figure = drawn(image_grids.grad_cam_grid(shown, maps, np.array([0, 1]), probabilities, CLASSES))
    assert figure.get_suptitle() == "Grad-CAM of the predicted class: 1 correct, 1 wrong"
    image, heat, wrong, none = figure.axes
    assert (texts(image), texts(wrong)) == (["✓ 100%"], ["✗ 100%"])
    lit = np.asarray(heat.images[0].get_array())
    red, green, blue = lit[0, 0]
    assert red > blue
    assert green > blue
    red, green, blue = lit[-1, -1]
    assert blue > red
    assert np.ptp(np.asarray(none.images[0].get_array()), axis=(0, 1)).max() == 0  # all regions are equal


def test_pairs_have_a_caption_and_correct_and_wrong_images_and_empty_cells() -> None:
    pair = {"class": "toy poodle", "other_class": "pug", "images": 8, "confused_fraction": 0.25}
    probabilities = certain([0, 1], 2)
    figure = drawn(
        image_grids.confusion_pairs_grid(
            pd.DataFrame([pair]), [[0, None, 1]], images(2), np.array([0, 0]), probabilities, CLASSES
        )
    )
    words, right, wrong = figure.axes
    assert texts(words) == ["toy\npoodle\n–\npug\n25% of 8 images"]
    colours = [to_hex(axes.spines["left"].get_edgecolor()).upper() for axes in (right, wrong)]
    assert colours == [style.BLUE, style.VERMILLION]
    assert wrong.get_xlabel() == "true: Chihuahua\n✗ pug"


def test_a_split_without_errors_has_an_empty_grid_of_pairs() -> None:
    nothing = pd.DataFrame(columns=["class", "other_class", "images", "confused_fraction"])
    assert (
        drawn(image_grids.confusion_pairs_grid(nothing, [], images(0), np.zeros(0, int), certain([], 2), CLASSES)).axes
        == []
    )


def test_a_rasterized_figure_has_its_inches_times_its_dots_per_inch() -> None:
    picture = style.rasterize(image_grids.image_grid(images(1), np.array([0]), certain([0], 2), CLASSES, "one"))
    figure = image_grids.image_grid(images(1), np.array([0]), certain([0], 2), CLASSES, "one")
    width, height = figure.get_size_inches() * figure.dpi
    assert picture.size == (int(width), int(height))
    assert picture.mode == "RGB"
