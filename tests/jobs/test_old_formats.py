"""What an older version has left is refused by each job with 65 and what to do, and stays as it is."""

import json
from pathlib import Path

import pytest

from dogbreed.data.manifest import MANIFEST
from dogbreed.serving import model_files
from tests.support.encoded_images import encoded, flat
from tests.support.small_model import SIZE, small_model
from tests.support.warm_job import run

OLD, PRESENT = 2, 3  # formats of datasets
OLD_ROWS, PRESENT_ROWS = "predictions 1", "predictions 3"  # and of predictions


@pytest.fixture
def place(sketches: Path, tmp_path: Path) -> Path:
    """A folder with all that the jobs take: an old dataset, old rows, raw archives, photos and a model."""
    for name, version in (("data", OLD), ("rows", OLD_ROWS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_text(json.dumps({"format": version, "fields": "of their time"}))
    (tmp_path / "raw").symlink_to(sketches)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(encoded(flat(0)))
    model_files.save(
        small_model(),
        model_files.ModelMetadata(("a", "b", "c", "d"), SIZE, "squash", "dogbreed", "digest"),
        tmp_path / "model",
    )
    return tmp_path


def contents(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("job", "options"),
    [
        ("train", ("--data", "{}/data", "--recipe", "simple-64")),
        ("evaluate", ("--data", "{}/data", "--model", "{}/model")),
        ("preprocess", ("--source", "synthetic", "--raw", "{}/raw", "--out", "{}/data")),
        ("predict", ("--images", "{}/photos", "--out", "{}/rows", "--model", "{}/model")),
    ],
)
def test_data_of_an_older_format_are_refused_and_left_alone(job: str, options: tuple[str, ...], place: Path) -> None:
    before = contents(place)
    done = run(f"jobs.{job}", *[option.format(place) for option in options], MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 65, done.stderr
    found, read = (OLD_ROWS, PRESENT_ROWS) if job == "predict" else (OLD, PRESENT)
    assert f"has format {found}, this version reads {read}; " in done.stderr
    assert "--out URI" in done.stderr
    assert contents(place) == before
