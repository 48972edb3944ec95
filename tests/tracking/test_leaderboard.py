"""The leaderboard: one dataset, the best first, seeds in one row, and the command of each row."""

import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dogbreed.core.errors import DataError, UsageError
from dogbreed.core.storage import LocalStore
from dogbreed.evaluation.figures import accuracy_vs_cost
from dogbreed.tracking import leaderboard
from tests.support.registry import evaluate, register

A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two seeds of a recipe, another setting and a fine-tuned model on dataset A; the first one also on B."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('board')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        first, second = (register(dataset, seed=seed) for seed in (0, 1))
        short = register(dataset, hours=0.25, epochs=20, **{"augment.cutmix_prob": "0.0"})
        body = {"model": "mobilenetv2", "size": 160, "weights": "s3://w/mobilenet v2.h5"}
        tuned = register(dataset, name="mobilenetv2-160", **body)
        return {
            "old": evaluate(first, A, hits=10),
            "first": evaluate(first, A, hits=40, top5=0.8),
            "second": evaluate(second, A, hits=44, top5=0.7),
            "short": evaluate(short, A, hits=30),
            "tuned": evaluate(tuned, A, hits=75, tta="flip"),
            "elsewhere": evaluate(first, B, hits=99),
            "training": str(mlflow.MlflowClient().get_model_version("dogbreed", str(first)).run_id),
            "uri": uri,
        }


@pytest.fixture(autouse=True)
def database(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", runs["uri"])


@pytest.fixture
def board() -> pd.DataFrame:
    return leaderboard.table(leaderboard.evaluations("dogbreed", "test", A, ()))


def test_the_newest_evaluation_of_each_model_counts_and_the_best_comes_first(
    board: pd.DataFrame, runs: dict[str, str]
) -> None:
    assert board["run"].tolist() == [runs[name] for name in ("tuned", "second", "first", "short")]
    assert board["top1"].tolist() == [0.75, 0.44, 0.4, 0.3]
    assert board["hours"].tolist() == [0.5, 0.5, 0.5, 0.25]
    assert set(board["processor"]) == {"CPU"}
    assert board["init_weights"].tolist() == ["s3://w/mobilenet v2.h5", "none", "none", "none"]
    assert (board["top1_ci95_low"] < board["top1"]).all()
    assert (board["top1_ci95_high"] > board["top1"]).all()


def test_another_model_than_the_recipes_is_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    evaluate(register(dataset, name="mobilenetv2-160", model="mobilenet-0.25"), A, hits=50)
    board = leaderboard.table(leaderboard.evaluations("dogbreed", "test", A, ()))
    assert board["recipe"].tolist() == ["mobilenetv2-160 (mobilenet-0.25)"]


def test_a_page_shows_mean_and_range_of_seeds_and_commands_that_repeat_each_row(board: pd.DataFrame) -> None:
    head, line, *rows = leaderboard.markdown(board, "test").splitlines()
    assert head == "| recipe | test top-1 | 95 % CI | top-5 | macro F1 | hours | command |"
    assert line.count("|") == head.count("|")
    job = "python -m jobs.train --data DATA"
    assert rows == [
        "| mobilenetv2-160, TTA flip | 75.0% | 67.0% to 84.0% | 90.0% | 0.400 | 0.5 CPU "
        f"| `{job} --recipe mobilenetv2-160 --weights 's3://w/mobilenet v2.h5'` |",
        "| simple-64, mean of 2 seeds | 42.0% | 40.0% to 44.0% (range of seeds) | 75.0% | 0.400 | 0.5 CPU "
        f"| `{job} --recipe simple-64` |",
        "| simple-64 | 30.0% | 22.0% to 39.0% | 90.0% | 0.400 | 0.25 CPU "
        f"| `{job} --recipe simple-64 --set epochs=20 --set augment.cutmix_prob=0.0` |",
    ]


def test_a_model_with_a_teacher_is_named_and_shows_the_hours_of_both(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = mlflow.MlflowClient()
    teacher = client.get_model_version("dogbreed", str(register(dataset, hours=2.0))).run_id
    taught = {"label_smoothing": 0.0, "distillation.teacher": "models:/dogbreed/1", "distillation.temperature": 2.0}
    for number, run in enumerate((teacher, "deleted")):
        version = register(dataset, seed=number, **taught, **{"distillation.views": 4 + number})
        student = str(client.get_model_version("dogbreed", str(version)).run_id)
        client.set_tag(student, "dogbreed.teacher", "models:/dogbreed/1")
        if run == teacher:
            client.set_tag(student, "dogbreed.teacher_run", str(run))
        evaluate(version, A, hits=60 - number)
    board = leaderboard.table(leaderboard.evaluations("dogbreed", "test", A, ()))
    first, second = leaderboard.markdown(board, "test").splitlines()[2:]
    command = "python -m jobs.train --data DATA --recipe simple-64 --teacher models:/dogbreed/1"
    command += " --set distillation.views=4 --set distillation.temperature=2.0"
    assert first.startswith("| simple-64, with a teacher | 60.0%")
    assert first.endswith(f"| 0.5 CPU + 2 CPU for the teacher | `{command}` |")
    assert "| 0.5 CPU + ? for the teacher |" in second


def test_runs_on_different_data_are_refused(runs: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"dataset a{12} \(5\), b{12} \(1\): .* cannot be compared"):
        leaderboard.evaluations("dogbreed", "test", None, ())
    with pytest.raises(DataError, match="cannot be compared"):
        leaderboard.evaluations("dogbreed", "test", None, [runs["first"], runs["elsewhere"]])
    with pytest.raises(DataError, match=r"a{12}, found evaluations on dataset b{12} \(1\)"):
        leaderboard.evaluations("dogbreed", "test", A, [runs["elsewhere"]])


def test_a_run_that_is_not_an_evaluation_on_that_split_is_refused(runs: dict[str, str]) -> None:
    for split, run in (("validation", runs["first"]), ("test", runs["training"])):
        with pytest.raises(DataError, match=f"run {run} is not an evaluation on {split}"):
            leaderboard.evaluations("dogbreed", split, None, [run])


def test_chosen_runs_are_compared_with_one_another_only(runs: dict[str, str]) -> None:
    chosen = leaderboard.evaluations("dogbreed", "test", None, [runs["short"], runs["first"]])
    assert leaderboard.table(chosen)["run"].tolist() == [runs["first"], runs["short"]]


def test_nothing_to_compare_is_a_usage_error() -> None:
    with pytest.raises(
        UsageError, match=r"no finished evaluation on validation in experiment dogbreed/evaluate; run jobs\.evaluate"
    ):
        leaderboard.evaluations("dogbreed", "validation", None, ())
    with pytest.raises(UsageError, match=r"no finished evaluation on test of c{12}"):
        leaderboard.evaluations("dogbreed", "test", "c" * 64, ())


def test_the_files_are_replaced_each_time(board: pd.DataFrame, tmp_path: Path) -> None:
    out = LocalStore(tmp_path / "out")
    for shown in (board, board.head(2)):
        leaderboard.write(shown, leaderboard.markdown(shown, "test"), "test", out)
    assert list(out.list()) == ["leaderboard.csv", "leaderboard.md", "leaderboard.png"]
    assert len(pd.read_csv(io.BytesIO(out.read("leaderboard.csv")))) == 2
    assert out.read("leaderboard.md").decode() == leaderboard.markdown(board.head(2), "test")
    assert Image.open(io.BytesIO(out.read("leaderboard.png"))).size == (1500, 810)


def test_the_figure_has_a_point_with_its_interval_for_each_model_and_lists_them_all(board: pd.DataFrame) -> None:
    board.loc[3, "hours"] = np.nan
    figure = accuracy_vs_cost.accuracy_vs_cost(board, "test")
    points, beside = figure.axes
    assert sorted(text.get_text() for text in points.texts) == ["1", "2", "3"]
    assert len(points.containers) == 3
    listed = [text.get_text() for text in beside.texts]
    assert listed[0] == "1  75.0%  mobilenetv2-160, seed 0, TTA flip"
    assert listed[3] == "4  30.0%  simple-64, seed 0"


def test_classes_without_images_are_named_below_the_table_and_in_the_csv(board: pd.DataFrame) -> None:
    page = leaderboard.markdown(board.assign(classes_without_images=2.0), "test")
    assert page.splitlines()[-1] == "Macro F1 leaves out 2 classes without test images."
    assert "leaves out" not in leaderboard.markdown(board.assign(classes_without_images=0.0), "test")
    assert "classes_without_images" in leaderboard.COLUMNS
