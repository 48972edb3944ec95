"""Tables of labels as people publish them; what they do not name is counted."""

import json
from pathlib import Path

import pytest

from dogbreed.core.errors import DataError, NotFound, UsageError
from dogbreed.core.storage import LocalStore, open_store
from dogbreed.data.raw.census import TABLE
from dogbreed.data.raw.image_folder import NO_CLASS_FOLDER, UNLABELLED_TEST, ImageFolder
from dogbreed.data.raw.label_tables import SEVERAL_CLASSES
from dogbreed.data.raw.labels import NO_CLASS, NO_IMAGE, NO_ROW, SEVERAL_IMAGES, LabelsOption
from tests.support.other_data import write_tree


def opened(
    folder: Path, images: list[str], tables: dict[str, str], option: str = "labels.csv", columns: str = ""
) -> ImageFolder:
    """Write images and tables, and open the folder with the option --labels."""
    store = LocalStore(folder)
    write_tree(store, images)
    for key, text in tables.items():
        store.put(key, text.encode())
    return ImageFolder(store, LabelsOption(option, tuple(columns.split(",")) if columns else ()))


def classes(source: ImageFolder) -> dict[str, tuple[str, str | None]]:
    return {image.source_id: (image.class_name, image.split) for image in source.images}


def reasons(source: ImageFolder) -> dict[str, str]:
    return {key: reason for reason, keys in source.ignored.names.items() for key in keys}


def test_ids_without_suffix_match_the_images_of_kaggle(tmp_path: Path) -> None:
    source = opened(
        tmp_path, ["train/0a.jpg", "train/0b.jpg", "test/ff.jpg"], {"labels.csv": "id,breed\n0a,akita\n0b,pug\n"}
    )
    assert classes(source) == {"train/0a.jpg": ("akita", "train"), "train/0b.jpg": ("pug", "train")}
    assert reasons(source) == {"labels.csv": TABLE, "test/ff.jpg": UNLABELLED_TEST}
    assert source.ignored.images == 0


def test_tables_of_each_split_name_files_of_their_own_folder(tmp_path: Path) -> None:
    images = ["train/1.jpg", "train/2.jpg", "test/1.jpg"]
    tables = {
        "train/metadata.csv": "file_name,label\n1.jpg,akita\n2.jpg,pug\n",
        "test/metadata.csv": "file_name,label\n1.jpg,pug\n",
    }
    source = opened(tmp_path, images, tables, "metadata.csv")
    assert classes(source) == {
        "train/1.jpg": ("akita", "train"), "train/2.jpg": ("pug", "train"), "test/1.jpg": ("pug", "test")
    }  # fmt: skip


def test_columns_of_marks_name_one_class_each(tmp_path: Path) -> None:
    table = "filename, akita, pug\na.jpg, 1, 0\nb.jpg, 0, 1\nc.jpg, 1, 1\nd.jpg, 0, 0\n"
    images = [f"train/{name}.jpg" for name in "abcd"]
    source = opened(tmp_path, images, {"train/_classes.csv": table}, "_classes.csv")
    assert classes(source) == {"train/a.jpg": ("akita", "train"), "train/b.jpg": ("pug", "train")}
    assert reasons(source) == {
        "train/_classes.csv": TABLE, "train/c.jpg": SEVERAL_CLASSES, "train/d.jpg": NO_CLASS
    }  # fmt: skip
    assert source.ignored.images == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "path;class;split\nimgs/1.jpg;akita;train\nimgs/2.jpg;pug;val\n"),
        ("x.csv", "\ufeffPath,Class,Split\r\nimgs\\1.jpg,akita,TRAIN\r\nimgs\\2.jpg,pug,valid\r\n"),
        ("x.tsv", "image\tlabel\tsplit\n1.jpg\takita\ttraining\n2.jpg\tpug\tdev\n"),
        ("x.jsonl", '{"file": "./imgs/1.jpg", "label": "akita", "split": "train"}\n'
                    '{"file": "2", "label": "pug", "split": "validation"}\n'),
        ("x.json", json.dumps([{"image": "imgs/1.jpg", "breed": "akita", "split": "train"},
                               {"image": "imgs/2.jpg", "breed": "pug", "split": "val"}])),
    ],
)  # fmt: skip
def test_a_table_may_be_written_in_many_ways(name: str, text: str, tmp_path: Path) -> None:
    source = opened(tmp_path, ["imgs/1.jpg", "imgs/2.jpg"], {name: text}, name)
    assert classes(source) == {"imgs/1.jpg": ("akita", "train"), "imgs/2.jpg": ("pug", "validation")}


def test_a_table_may_lie_elsewhere_and_have_any_columns(tmp_path: Path) -> None:
    table = tmp_path / "elsewhere.csv"
    table.write_text("Bild,Rasse\n1.jpg,Akita\n2.jpg,Mops\n")
    source = opened(tmp_path / "raw", ["1.jpg", "2.jpg"], {}, str(table), "Bild,Rasse")
    assert classes(source) == {"1.jpg": ("Akita", None), "2.jpg": ("Mops", None)}


def test_a_table_below_the_prefix_may_be_named_by_its_whole_path(tmp_path: Path) -> None:
    source = opened(tmp_path, ["1.jpg"], {"labels.csv": "file,label\n1.jpg,pug\n"}, f"{tmp_path}/labels.csv")
    assert reasons(source) == {"labels.csv": TABLE}


def test_rows_and_images_without_a_counterpart_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "file,label\na/1.jpg,akita\nb/1.jpg,pug\n3.jpg,pug\n1.jpg,pug\n"
    source = opened(tmp_path, ["a/1.jpg", "b/1.jpg", "b/2.jpg"], {"labels.csv": table})
    assert len(source.images) == 2
    assert reasons(source) == {"labels.csv": TABLE, "b/2.jpg": NO_ROW}
    assert source.ignored.rows == {NO_IMAGE: ["3.jpg"], SEVERAL_IMAGES: ["1.jpg"]}
    source.ignored.log("raw")
    assert f"{NO_IMAGE}: 1 (3.jpg)" in caplog.text


def test_splits_of_a_table_come_before_folders_and_may_be_in_a_column_of_any_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = ["train/1.jpg", "train/2.jpg", "test/3.jpg"]
    table = "file,label,data set\ntrain/1.jpg,pug,train\ntrain/2.jpg,akita,test\ntest/3.jpg,pug,test\n"
    found = opened(tmp_path, images, {"labels.csv": table})
    assert classes(found)["train/2.jpg"] == ("akita", "train")
    assert "column data set of labels.csv holds splits (test, train) but is not used" in caplog.text
    caplog.clear()
    found = opened(tmp_path / "named", images, {"labels.csv": table}, columns="file,label,data set")
    assert classes(found)["train/2.jpg"] == ("akita", "test")
    assert "other splits than the folders, and is followed: 1 images (train/2.jpg in test)" in caplog.text


def test_classes_of_a_table_without_an_image_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"gone_{n}.jpg,{name}" for n, name in enumerate(["pug", "akita", *"bcdefg", "pug", "", "b"])]
    table = "\n".join(["file,label", "1.jpg,akita", "2.jpg,", *rows, ""])
    opened(tmp_path, ["1.jpg", "2.jpg"], {"labels.csv": table})
    (warning,) = [found for record in caplog.records if "without an image" in (found := record.getMessage())]
    assert f"classes of labels.csv without an image in {tmp_path}: 7 (b, c, d, e, f and 2 more)" in warning
    caplog.clear()
    opened(tmp_path / "all", ["1.jpg"], {"labels.csv": "file,label\n1.jpg,akita\n2.jpg,akita\n"})
    assert "without an image" not in caplog.text


@pytest.mark.parametrize(
    ("text", "error", "word"),
    [
        ("a,b\n1.jpg,x\n", UsageError, "--label-columns"),
        ("file,label\n", DataError, "no row"),
        ("file,label\n9.jpg,x\n", DataError, "names one of the images"),
        ("file,label\n1.jpg,x\n1.jpg,y\n", DataError, "twice"),
        ("file,label,split\n1.jpg,x,fold3\n", DataError, "fold3"),
        ("\x00\x01", DataError, "no row"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(text: str, error: type[Exception], word: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=word):
        opened(tmp_path, ["1.jpg"], {"labels.csv": text})


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.csv"):
        opened(tmp_path, ["1.jpg"], {}, str(tmp_path / "none.csv"))


def test_the_digest_covers_classes_and_splits_of_the_table(tmp_path: Path) -> None:
    texts = ("file,label\n1.jpg,x\n2.jpg,y\n", "file,label\n1.jpg,y\n2.jpg,x\n")
    digests = {
        opened(tmp_path / str(n), ["1.jpg", "2.jpg"], {"labels.csv": text}).digest for n, text in enumerate(texts)
    }
    assert len(digests) == 2


def test_without_a_table_images_need_a_class_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_tree(store, ["a/1.jpg", "b/1.jpg", "1.jpg"])
    assert reasons(ImageFolder(store)) == {"1.jpg": NO_CLASS_FOLDER}


def test_a_row_with_a_folder_means_no_image_of_another_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'train/1\.jpg'.*'test/1\.jpg'"):
        opened(tmp_path, ["test/1.jpg"], {"labels.csv": "file,label\ntrain/1.jpg,akita\n"})
    with pytest.raises(DataError, match="no row"):
        opened(tmp_path / "b", ["test/1.jpg"], {"train/x.csv": "file,label\n1.jpg,akita\n"}, "x.csv")


def test_folders_above_the_prefix_do_not_matter(tmp_path: Path) -> None:
    table = "file,label\n/home/me/dogs/imgs/1.jpg,akita\nC:\\dogs\\imgs\\2.jpg,pug\n"
    source = opened(tmp_path, ["imgs/1.jpg", "imgs/2.jpg", "others/1.jpg"], {"labels.csv": table})
    assert {key: name for key, (name, _) in classes(source).items()} == {"imgs/1.jpg": "akita", "imgs/2.jpg": "pug"}


def test_a_folder_instead_of_a_table_is_refused(tmp_path: Path, bucket: str) -> None:
    raw, elsewhere, table = LocalStore(tmp_path / "raw"), tmp_path / "elsewhere", b"file,label\n1.jpg,akita\n"
    elsewhere.mkdir()
    write_tree(raw, ["1.jpg", "2.jpg"])
    for store in (raw, open_store(bucket)):
        store.put("tables/labels.csv", table)
    folders = ("tables", "tables/", f"{raw.uri}/tables", str(elsewhere), f"{bucket}/tables", f"{bucket}/tables/")
    for name in folders:
        with pytest.raises(DataError, match=r"--labels .* is a folder.* name the table itself"):
            ImageFolder(raw, LabelsOption(name))
    assert classes(ImageFolder(raw, LabelsOption(f"{bucket}/tables/labels.csv"))) == {"1.jpg": ("akita", None)}
    with pytest.raises(NotFound, match="does not exist"):
        ImageFolder(raw, LabelsOption(f"{bucket}/tables/label.csv"))


def test_rows_of_json_may_lack_a_value_and_lines_may_be_empty(tmp_path: Path) -> None:
    rows = ('{"file": "1.jpg", "label": ["x\u2028y"]}', "", '{"file": "2.jpg"}', '{"label": "x"}',
            '{"file": "3.jpg", "label": ["a", "b"]}')  # fmt: skip
    table = "\n".join(rows)
    source = opened(tmp_path, ["1.jpg", "2.jpg", "3.jpg"], {"x.jsonl": table}, "x.jsonl")
    assert classes(source) == {"1.jpg": ("x\u2028y", None)}
    assert reasons(source) == {"x.jsonl": TABLE, "2.jpg": NO_CLASS, "3.jpg": SEVERAL_CLASSES}


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("x.jsonl", '{"file": "1.jpg", "label": {"a": 1}}\n', "no text or number"),
        ("x.jsonl", '{"file": "1.jpg", "label": "a\\ud83d"}\n', "not valid Unicode"),
        ("x.json", "[" * 100_000, "no table"),
        ("x.csv", "file,label\n1.jpg,Retriever, Golden\n", "more cells than columns"),
        ("x.csv", "file,label,label\n1.jpg,a,b\n", "two columns are called label"),
    ],
)
def test_values_that_are_no_class_are_refused(name: str, text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=word):
        opened(tmp_path, ["1.jpg"], {name: text}, name)


def test_a_class_may_be_called_label(tmp_path: Path) -> None:
    table = "filename,label,pug\n1.jpg,1,0\n2.jpg,0,1\n"
    source = opened(tmp_path, ["1.jpg", "2.jpg"], {"x.csv": table}, "x.csv")
    assert {key: name for key, (name, _) in classes(source).items()} == {"1.jpg": "label", "2.jpg": "pug"}


def test_a_column_of_a_class_without_a_mark_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "image,nevus,melanoma,scar\na,1.0,0.0,0.0\nb,0.0,1.0,0.0\n"
    source = opened(tmp_path, ["a.jpg", "b.jpg"], {"labels.csv": table})
    assert {name for name, _ in classes(source).values()} == {"nevus", "melanoma"}
    assert "no row of labels.csv marks these columns; they are no classes: scar" in caplog.text
