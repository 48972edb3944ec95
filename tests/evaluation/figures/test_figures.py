"""The content of the figures, also for the smallest and the oddest inputs."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from dogbreed.evaluation.figures import bars, confusion, curves, image_grids, style
from dogbreed.evaluation.metrics import per_class
from tests.support.drawing import certain, drawn, guesses, images, labels_of, texts


def history(epochs: int) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    curves = {"loss": 3 / epoch, "val_loss": 1 + (epoch - 3) ** 2, "top1": epoch / 10, "val_top1": epoch / 20}
    return pd.DataFrame({"epoch": epoch, **curves})


def test_learning_curves_mark_the_best_epoch_of_each_panel() -> None:
    loss, top1 = drawn(curves.learning_curves(history(5))).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation", "best 1.000 at epoch 3"]
    assert [line.get_label() for line in top1.lines] == ["training", "validation", "best 25.0% at epoch 5"]
    assert (loss.lines[2].get_xdata(), loss.lines[2].get_ydata()) == ([3], [1])


def test_learning_curves_of_one_epoch_show_dots_at_a_whole_epoch() -> None:
    loss, _ = drawn(curves.learning_curves(history(1))).axes
    assert [line.get_marker() for line in loss.lines] == ["o", "o", "*"]
    left, right = loss.get_xlim()
    assert [tick for tick in loss.get_xticks() if left <= tick <= right] == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_learning_curves_of_a_diverged_training_are_drawn(value: float) -> None:
    diverged = history(3).assign(loss=value, val_loss=value, val_top1=np.nan)
    _, top1 = drawn(curves.learning_curves(diverged)).axes
    assert len(top1.lines) == 2


def test_learning_curves_before_the_first_epoch_are_empty() -> None:
    assert [len(axes.lines) for axes in drawn(curves.learning_curves(history(0))).axes] == [2, 2]


def test_confusion_matrix_of_ten_classes_has_percentages_in_its_cells() -> None:
    labels = np.repeat(np.arange(10), 4)
    predicted = [9, *labels.tolist()[1:]]
    axes, bar = drawn(confusion.confusion_matrix(labels, certain(predicted, 10), list("abcdefghij"))).axes
    assert sorted(texts(axes)) == sorted(["100"] * 9 + ["75", "25"])
    assert bar.get_ylabel() == "fraction of the true class"


def test_confusion_matrix_puts_confused_classes_side_by_side() -> None:
    labels = np.repeat(np.arange(4), 2)
    confused = certain([0, 2, 1, 3, 2, 0, 3, 1], 4)  # 0 with 2, 1 with 3
    axes = confusion.confusion_matrix(labels, confused, ["n00000001-a", "b", "c", "d_e"]).axes[0]
    names = labels_of(axes.get_yticklabels())
    assert {frozenset(names[:2]), frozenset(names[2:])} == {frozenset({"a", "c"}), frozenset({"b", "d e"})}
    assert labels_of(axes.get_xticklabels()) == names
    rates = np.asarray(axes.images[0].get_array())
    assert rates.tolist() == np.kron(np.eye(2), np.full((2, 2), 0.5)).tolist()


def test_confusion_matrix_of_120_classes_names_each_and_keeps_the_labels_apart() -> None:
    labels, probabilities = guesses(240, 120)
    figure = drawn(confusion.confusion_matrix(labels, probabilities, [f"breed {i}" for i in range(120)]))
    axes = figure.axes[0]
    assert (len(axes.get_xticks()), len(axes.get_yticks()), texts(axes)) == (120, 120, [])
    first, second = (label.get_window_extent() for label in axes.get_yticklabels()[:2])
    assert not first.overlaps(second)


def test_confusion_matrix_has_the_number_of_images_and_the_accuracy_in_its_title() -> None:
    figure = drawn(confusion.confusion_matrix(np.array([0, 1, 1]), certain([0, 1, 0], 2), ["a", "b"]))
    assert figure.get_suptitle() == "Confusion of 2 classes: 3 images, top-1 66.7%"


def test_confusion_matrix_has_an_undefined_row_for_a_class_without_images() -> None:
    axes = drawn(confusion.confusion_matrix(np.array([0, 1]), certain([0, 1], 3), ["a", "b", "c"])).axes[0]
    masked: Any = axes.images[0].get_array()
    empty = labels_of(axes.get_yticklabels()).index("c")
    assert masked.mask.all(axis=1).tolist() == [row == empty for row in range(3)]


def test_confusion_matrix_of_no_images_is_drawn() -> None:
    figure = drawn(confusion.confusion_matrix(np.zeros(0, int), certain([], 2), ["a", "b"]))
    assert figure.get_suptitle() == "Confusion of 2 classes: 0 images, top-1 undefined"


def test_recall_bars_are_sorted_with_classes_without_images_last() -> None:
    table = per_class(np.array([0, 0, 1]), certain([2, 0, 1], 3), ["half", "full", "no_dog"])
    (axes,) = drawn(bars.recall_bars(table)).axes
    assert labels_of(axes.get_yticklabels()) == ["full", "half", "no dog"]
    assert [bar.get_width() for bar in axes.patches][:2] == [1.0, 0.5]  # type: ignore[attr-defined]
    assert texts(axes)[1:] == ["100%", "50%  no dog ×1", "no images"]


def test_recall_bars_take_their_macro_mean_over_classes_with_images() -> None:
    table = per_class(np.array([0, 0, 1]), certain([2, 0, 1], 3), ["a", "b", "c"])
    figure = bars.recall_bars(table)
    assert figure.get_suptitle() == "Recall of 3 classes (1 without images), macro mean 75.0%"
    assert figure.axes[0].lines[0].get_xdata() == [0.75, 0.75]


def test_recall_bars_of_120_classes_have_two_panels() -> None:
    table = per_class(*guesses(240, 120), [f"breed {i}" for i in range(120)])
    panels = drawn(bars.recall_bars(table)).axes
    assert [len(axes.patches) for axes in panels] == [60, 60]
    first, second = (label.get_window_extent() for label in panels[0].get_yticklabels()[:2])
    assert not first.overlaps(second)


@pytest.mark.parametrize("rows", [0, 2])
def test_recall_bars_without_any_image_are_drawn(rows: int) -> None:
    table = per_class(np.array([0]), certain([0], 2), ["a", "b"]).assign(images=0, recall=np.nan).iloc[:rows]
    assert drawn(bars.recall_bars(table)).get_suptitle().endswith(", no images")


def test_sample_is_half_correct_ones_over_the_split_and_half_the_most_confident_errors() -> None:
    probabilities = certain([0] * 8, 2) * 0.2 + 0.4
    probabilities[4:] = [[0.6, 0.4], [0.9, 0.1], [0.7, 0.3], [0.9, 0.1]]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert image_grids.sample(labels, probabilities, 4).tolist() == [0, 2, 5, 7]


@pytest.mark.parametrize(
    ("predicted", "count", "chosen"),
    [
        ([0, 0, 0, 1], 4, [0, 1, 2, 3]),  # one wrong only: right ones fill up
        ([1, 1, 1, 0], 3, [3, 0, 1]),  # one right only: wrong ones fill up
        ([0, 0, 0, 0], 2, [0, 2]),  # none wrong
        ([1, 1, 1, 1], 2, [0, 1]),  # none right
        ([0, 1], 24, [0, 1]),  # fewer than asked for
        ([], 24, []),
    ],
)
def test_sample_fills_up_where_one_half_is_short(predicted: list[int], count: int, chosen: list[int]) -> None:
    labels = np.zeros(len(predicted), dtype=int)
    assert image_grids.sample(labels, certain(predicted, 2), count).tolist() == chosen


def test_sample_predictions_mark_correct_and_wrong_by_sign_and_colour() -> None:
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25]], dtype=np.float32)
    classes = ["n02085620-Chihuahua", "n02110958-pug"]
    right, wrong = drawn(image_grids.sample_predictions(images(2), np.array([0, 1]), probabilities, classes)).axes
    assert (texts(right), right.get_xlabel()) == (["✓ 75%"], "true: Chihuahua\n✓ Chihuahua")
    assert (texts(wrong), wrong.get_xlabel()) == (["✗ 75%"], "true: pug\n✗ Chihuahua")
    colours = [to_hex(axes.spines["left"].get_edgecolor()).upper() for axes in (right, wrong)]
    assert colours == [style.BLUE, style.VERMILLION]


def test_sample_predictions_show_24_images_and_the_number_of_correct_ones() -> None:
    labels = np.zeros(60, dtype=int)
    figure = drawn(image_grids.sample_predictions(images(60), labels, certain([0] * 30 + [1] * 30, 2), ["a", "b"]))
    assert len(figure.axes) == 24
    assert figure.get_suptitle() == "12 correct, 12 most confident errors, of 60 images"


def test_sample_predictions_of_no_images_are_an_empty_grid() -> None:
    figure = drawn(image_grids.sample_predictions(images(0), np.zeros(0, int), certain([], 2), ["a", "b"]))
    assert figure.axes == []


def test_sample_predictions_refuse_another_number_of_images_than_labels() -> None:
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        image_grids.sample_predictions(images(3), np.array([0, 1]), certain([0, 1], 2), ["a", "b"])


def test_a_dollar_or_an_endless_name_of_a_class_is_drawn_as_text() -> None:
    classes = ["$\\frac$", "x" * 500]
    axes = drawn(confusion.confusion_matrix(np.array([0, 1]), certain([0, 1], 2), classes)).axes[0]
    assert sorted(labels_of(axes.get_yticklabels())) == ["$\\frac$", "x" * 29 + "…"]


def test_drawing_does_not_change_the_settings_of_matplotlib() -> None:
    before = dict(mpl.rcParams)
    curves.learning_curves(history(3))
    assert dict(mpl.rcParams) == before


def test_the_class_histogram_stacks_the_splits_with_the_largest_class_on_top() -> None:
    rows = [("n01-Few", 3, 1, 2), ("n02-Many", 100, 10, 40), ("n03-None", 0, 0, 0)]
    (axes,) = drawn(bars.class_histogram(pd.DataFrame(rows, columns=["class", *bars.SPLIT_COLOURS]))).axes
    assert labels_of(axes.get_yticklabels()) == ["n02-Many", "n01-Few", "n03-None"]
    assert texts(axes) == [" 150", " 6", " 0"]
    assert [bar.get_width() for bar in axes.patches] == [100, 3, 0, 10, 1, 0, 40, 2, 0]


def test_the_class_histogram_of_120_classes_has_two_panels() -> None:
    rows = [(f"n0000{n:04}-Breed_{n}", n, 1, 2) for n in range(120)]
    figure = drawn(bars.class_histogram(pd.DataFrame(rows, columns=["class", *bars.SPLIT_COLOURS])))
    assert [len(axes.get_yticks()) for axes in figure.axes] == [60, 60]
